// SPDX-License-Identifier: Apache-2.0
// Room for what a callable returns, until somebody asks for it. References are kept as pointers, void as nothing.
#pragma once

#include <optional>
#include <type_traits>
#include <utility>

namespace weft {
inline namespace v0 {
namespace detail {

template <class T>
class result_slot {
 public:
  template <class F>
  void fill(F&& f) {
    value_.emplace(std::forward<F>(f)());
  }
  T take() { return std::move(*value_); }

 private:
  std::optional<T> value_;
};

template <class T>
class result_slot<T&> {
 public:
  template <class F>
  void fill(F&& f) {
    value_ = &std::forward<F>(f)();
  }
  T& take() { return *value_; }

 private:
  T* value_ = nullptr;
};

template <>
class result_slot<void> {
 public:
  template <class F>
  void fill(F&& f) {
    std::forward<F>(f)();
  }
  void take() {}
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
