// SPDX-License-Identifier: Apache-2.0
// fiber<T>: the handle of a fiber whose result somebody wants.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <utility>

#include <weft/detail/spawn.hpp>
#include <weft/error.hpp>

namespace weft {
inline namespace v0 {

class scope;

namespace detail {
/// How the library looks behind a handle.
struct fiber_insight {
  template <class Fiber>
  static completion* state(const Fiber& f) noexcept {
    return f.state_;
  }
};
}  // namespace detail

/// fiber is the handle of a spawned fiber; move-only. Its destructor cancels the fiber and waits for its end, as
/// std::jthread does.
///
/// An error of the fiber is thrown by `join`. One that nobody joined ends the process (exit status 2), unless the fiber
/// failed after its handle's destructor had cancelled it, or the handle goes while an exception unwinds. One handle
/// belongs to one fiber or thread at a time; different handles are independent.
template <class T>
class fiber {
 public:
  /// An empty handle.
  fiber() noexcept = default;
  fiber(fiber&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  fiber& operator=(fiber&& other) noexcept {
    fiber(std::move(other)).swap(*this);
    return *this;
  }
  ~fiber() {
    if (state_ == nullptr) return;
    state_->abandon();
    state_->release();
  }

  /// Waits for the end and gives the result, once; rethrows what the fiber threw, or throws fiber_cancelled if it was
  /// cancelled. Cancellable. The handle is empty afterwards; joining an empty one is std::logic_error.
  T join() {
    if (state_ == nullptr)
      throw std::logic_error("weft: join of an empty fiber handle (moved from, detached, or joined before)");
    state_->wait();
    const releaser last{std::exchange(state_, nullptr)};
    last.state->take_error();
    return last.state->result.take();
  }

  /// Waits for the end at most for `at_most`; true if the fiber has ended: `join` then gives the result at once.
  /// Cancellable.
  [[nodiscard]] bool join_for(detail::any_duration at_most) {
    if (state_ == nullptr)
      throw std::logic_error("weft: join_for of an empty fiber handle (moved from, detached, or joined before)");
    return state_->wait_for(at_most);
  }

  /// Whether the fiber has ended. Never waits; false for an empty handle.
  [[nodiscard]] bool done() const noexcept { return state_ != nullptr && state_->done(); }
  /// Asks the fiber to end: its waits throw `cancelled` from now on. Never waits.
  void cancel() noexcept {
    if (state_ != nullptr) state_->cancel();
  }
  /// Lets the fiber go on alone; its error, if it comes, ends the process. The handle is empty afterwards.
  void detach() {
    if (state_ == nullptr)
      throw std::logic_error("weft: detach of an empty fiber handle (moved from, detached, or joined before)");
    const releaser last{std::exchange(state_, nullptr)};
    last.state->detach();
  }
  /// The fiber's number, unique within the process; 0 for an empty handle.
  [[nodiscard]] std::uint64_t id() const noexcept { return state_ != nullptr ? state_->id() : 0; }
  /// Whether there is something to join.
  [[nodiscard]] bool joinable() const noexcept { return state_ != nullptr; }

  void swap(fiber& other) noexcept { std::swap(state_, other.state_); }

 private:
  friend class scope;
  friend struct detail::fiber_insight;
  template <class F, class... Args>
  friend auto spawn(F&& f, Args&&... args) -> fiber<detail::call_result<F, Args...>>;
  template <class F, class... Args>
  friend auto spawn(const attrs& how, F&& f, Args&&... args) -> fiber<detail::call_result<F, Args...>>;

  struct releaser {
    detail::fiber_state<T>* state;
    ~releaser() { state->release(); }
  };
  explicit fiber(detail::fiber_state<T>* state) noexcept : state_(state) {}

  detail::fiber_state<T>* state_ = nullptr;
};

}  // namespace v0
}  // namespace weft
