// SPDX-License-Identifier: Apache-2.0
// The core of weft::scope: who its children are, how they failed, who waits for them. The operations are in the library
// (runtime/scope/nursery.cpp); this is the room they need, so that a scope is a local object without an allocation. No
// container stands in it: a program built with -D_GLIBCXX_DEBUG would have another layout than the library.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <utility>

#include <weft/detail/atomic.hpp>
#include <weft/detail/cancel_frame.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/detail/wait_list.hpp>
#include <weft/mutex.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

class completion;

class WEFT_EXPORT nursery {
 public:
  using error_handler = std::function<void(std::exception_ptr)>;

  /// limit 0: none.
  nursery(bool collect, std::size_t limit, error_handler on_error);
  nursery(const nursery&) = delete;
  nursery& operator=(const nursery&) = delete;
  /// Cancels if an exception unwinds through it; waits for the children, shielded. An error that nobody took ends the
  /// process.
  ~nursery();

  void join();
  void cancel() noexcept;
  bool is_cancelled() const noexcept;
  /// Copies the errors that are kept to `to`, which has room for `most_errors`; returns how many these are.
  std::size_t copy_errors(std::exception_ptr* to) const noexcept;
  std::size_t error_count() const noexcept;

  static constexpr std::size_t most_errors = 64;

  /// Waits until a child may be added and counts it in. Throws `cancelled`.
  void admit();
  void take_back() noexcept;  ///< undoes `admit`
  void add_child(void* g) noexcept;

 private:
  friend struct nursery_access;

  bool wait_for_children(bool cancellable) noexcept;  ///< returns false if the wait was cancelled
  void require_owner(const char* misuse) const noexcept;
  /// The first error, if nobody has taken it; it is taken then.
  std::exception_ptr take_error() noexcept;
  bool error_is_open() const noexcept WEFT_REQUIRES(lock_);

  mutable spin_lock lock_;
  bool collect_;
  bool cancelled_ WEFT_GUARDED_BY(lock_) = false;
  bool error_taken_ WEFT_GUARDED_BY(lock_) = false;
  std::size_t limit_;
  std::size_t active_ WEFT_GUARDED_BY(lock_) = 0;   ///< admitted and not yet gone
  void* members_ WEFT_GUARDED_BY(lock_) = nullptr;  ///< Gs, linked through their siblings
  wait_list joiners_ WEFT_GUARDED_BY(lock_);
  wait_list admissions_ WEFT_GUARDED_BY(lock_);
  std::exception_ptr first_error_ WEFT_GUARDED_BY(lock_);
  completion* first_failed_ WEFT_GUARDED_BY(lock_) = nullptr;  ///< its handle may take the error; holds a reference
  std::unique_ptr<std::exception_ptr[]> collected_ WEFT_GUARDED_BY(lock_);  ///< room for `most_errors`
  std::size_t error_count_ WEFT_GUARDED_BY(lock_) = 0;
  error_handler on_error_;
  mutex handler_lock_;                    ///< handlers run one at a time, and may wait
  void* owner_ = nullptr;                 ///< the fiber that opened it; null on a plain thread
  detail::atomic<bool> orphaned_{false};  ///< that fiber has ended
  int uncaught_ = 0;
  cancel_frame frame_;
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
