// SPDX-License-Identifier: Apache-2.0
// A number of permits.
#pragma once

#include <cstddef>
#include <cstdint>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/detail/wait_list.hpp>

namespace weft {
inline namespace v0 {

/// semaphore holds a number of permits; `acquire` takes some, waiting until there are enough, `release` gives some
/// back.
///
/// First come, first served: a request that is too large for now is not overtaken by smaller ones behind it. There is
/// no upper limit but the type's. What happened before a `release` happens before the return of the `acquire` that
/// takes its permits. A negative number of permits throws std::invalid_argument, in each call. Any fiber or plain
/// thread.
class WEFT_EXPORT semaphore {
 public:
  /// Throws std::invalid_argument for n < 0.
  constexpr explicit semaphore(std::ptrdiff_t n) : free_(n >= 0 ? n : refuse("semaphore", n)) {}
  semaphore(const semaphore&) = delete;
  semaphore& operator=(const semaphore&) = delete;

  /// Waits until `n` permits are the caller's. Cancellable: then it has taken none.
  void acquire(std::ptrdiff_t n = 1) { acquire_ns(n, detail::for_ever); }
  /// Never waits. False also while somebody waits, even for more.
  [[nodiscard]] bool try_acquire(std::ptrdiff_t n = 1);
  /// Waits at most for so long; false: it has taken none. Cancellable.
  [[nodiscard]] bool try_acquire_for(detail::any_duration at_most, std::ptrdiff_t n = 1) {
    return acquire_ns(n, at_most.ns());
  }
  /// Adds `n` permits, which need not have been acquired. Never waits, never throws `cancelled`. Throws
  /// std::overflow_error, and adds none, if they would not fit.
  void release(std::ptrdiff_t n = 1);

 private:
  [[noreturn]] static std::ptrdiff_t refuse(const char* what, std::ptrdiff_t n);
  bool acquire_ns(std::ptrdiff_t n, std::int64_t patience);
  detail::spin_lock lock_;
  std::ptrdiff_t free_;
  detail::wait_list waiters_;
};

}  // namespace v0
}  // namespace weft
