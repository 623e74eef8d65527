// SPDX-License-Identifier: Apache-2.0
// fiber_local: what thread_local is for threads.
#pragma once

#include <cstdint>

#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {

namespace detail {
/// A value of one fiber, or of one plain thread, in the list that its owner keeps.
struct local_value {
  local_value* older = nullptr;
  std::uint64_t key = 0;
  void (*destroy)(local_value* it) noexcept = nullptr;
};
WEFT_EXPORT std::uint64_t new_local_key() noexcept;
/// The head of the caller's list. It stays where it is when the fiber moves to another thread.
WEFT_EXPORT local_value*& newest_local() noexcept;
}  // namespace detail

/// fiber_local is a `T` for each fiber, made (`T()`) when the fiber first asks for it and destroyed when it ends, after
/// its function and before whoever joins it hears of the end, the newest first. On a plain thread: for that thread.
/// Nothing is inherited by the fibers that a fiber starts, nor by the child of a fork.
///
/// ```cpp
/// inline weft::fiber_local<request_info> current_request;
///
/// current_request->id = id;                 // in the fiber that serves it
/// log("{}: {}", current_request->id, text);  // in whatever it calls
/// ```
///
/// Meant to live as long as the program, or nearly so. If it goes earlier the values stay until their fibers end. A
/// reference to the value is the fiber's: others may use it while that fiber lives, under a lock of their own. The
/// first use in a fiber allocates; each looks through the fiber's values, of which there should be few. Never waits,
/// unless `T` does.
template <class T>
class fiber_local {
 public:
  fiber_local() noexcept : key_(detail::new_local_key()) {}
  fiber_local(const fiber_local&) = delete;
  fiber_local& operator=(const fiber_local&) = delete;

  /// Throws what making a `T` throws, and std::bad_alloc; then there is no value, and the next call tries again.
  T& get() const {
    detail::local_value*& newest = detail::newest_local();
    for (detail::local_value* v = newest; v != nullptr; v = v->older)
      if (v->key == key_) return static_cast<holder*>(v)->value;
    auto* made = new holder;
    made->key = key_;
    made->destroy = [](detail::local_value* it) noexcept { delete static_cast<holder*>(it); };
    made->older = newest;  // what making it has made is older
    newest = made;
    return made->value;
  }
  T& operator*() const { return get(); }
  T* operator->() const {
    T& value = get();
    return __builtin_addressof(value);
  }

 private:
  struct holder : detail::local_value {
    T value{};
  };
  std::uint64_t key_;
};

}  // namespace v0
}  // namespace weft
