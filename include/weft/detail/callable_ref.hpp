// SPDX-License-Identifier: Apache-2.0
// A reference to something callable without arguments or result, for library functions that call back before they
// return.
#pragma once

#include <memory>
#include <type_traits>

namespace weft {
inline namespace v0 {
namespace detail {

class callable_ref {
 public:
  template <class F>  // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): not for a callable_ref
  requires(!std::is_same_v<std::remove_cvref_t<F>, callable_ref>) callable_ref(F&& f)
  noexcept  // NOLINT(google-explicit-constructor): a parameter type
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object) { (*static_cast<std::remove_reference_t<F>*>(object))(); }) {}

  void operator()() const { call_(object_); }

 private:
  void* object_;
  void (*call_)(void*);
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
