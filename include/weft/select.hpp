// SPDX-License-Identifier: Apache-2.0
// select: waiting for the first of several things, and doing just that one.
//
// ```cpp
// std::size_t which = weft::select(
//     weft::on_recv(a, [&](std::optional<int> v) { ... }),   // nullopt: a is closed
//     weft::on_send(b, 42, [&] { ... }),                     // a case that loses leaves its value alone
//     weft::on_timeout(100ms, [&] { ... }));
// ```
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include <weft/detail/select_case.hpp>
#include <weft/time.hpp>

namespace weft {
inline namespace v0 {

/// A case that receives: `f` gets std::optional<T>, nullopt if the channel is closed and drained; for a channel of void
/// a bool. `from` is a chan, recv_chan or receiver. To be made in the call of select.
template <detail::receivable Chan, class F = detail::no_handler>
[[nodiscard]] auto on_recv(const Chan& from, F&& f = {}) {
  return detail::recv_case<detail::element_of<Chan>, std::decay_t<F>>(detail::chan_insight::core(from),
                                                                      std::forward<F>(f));
}

/// A case that sends. An rvalue of the channel's type is moved from only if the case is the one; another value is
/// converted, implicitly as by `send`, or copied as the case is made. If the channel is closed, select throws
/// channel_closed.
template <detail::sendable Chan, class U = detail::element_of<Chan>, class F = detail::no_handler>
requires detail::sent_as<U, detail::element_of<Chan>>
[[nodiscard]] auto on_send(const Chan& to, U&& value, F&& f = {}) {
  using T = detail::element_of<Chan>;
  using V = std::conditional_t<std::is_same_v<U&&, T&&>, T&&, T>;
  return detail::send_case<V, std::decay_t<F>>(detail::chan_insight::core(to), std::forward<U>(value),
                                               std::forward<F>(f));
}
template <detail::sendable Chan, class F = detail::no_handler>
requires(std::is_void_v<detail::element_of<Chan>>) [[nodiscard]] auto on_send(const Chan& to, F&& f = {}) {
  return detail::send_case<void, std::decay_t<F>>(detail::chan_insight::core(to), std::forward<F>(f));
}

/// A case that is ready once the fiber has ended: `join` then gives its result, or its error, at once. An empty handle
/// throws std::logic_error.
template <class T, class F = detail::no_handler>
[[nodiscard]] auto on_join(const fiber<T>& of, F&& f = {}) {
  return detail::join_case<std::decay_t<F>>(detail::fiber_insight::state(of), std::forward<F>(f));
}

/// A case that is ready while the event is set.
template <class F = detail::no_handler>
[[nodiscard]] auto on_event(event& of, F&& f = {}) {
  return detail::event_case<std::decay_t<F>>(&of, std::forward<F>(f));
}

/// A case that is ready while a read from `of`, or a write to it, would not wait: `of` is a stream, a net::fd or a
/// net::watcher, or a listener (a connection is there to be accepted). So it is worth while to try; another fiber may still
/// be quicker. Also ready for an end, an error or an expired deadline, and once `of` is closed: the try tells.
template <class F = detail::no_handler>
[[nodiscard]] auto on_readable(detail::net_object& of, F&& f = {}) {
  return detail::ready_case<std::decay_t<F>>(of, false, std::forward<F>(f));
}
template <class F = detail::no_handler>
[[nodiscard]] auto on_writable(detail::net_object& of, F&& f = {}) {
  return detail::ready_case<std::decay_t<F>>(of, true, std::forward<F>(f));
}

/// A case that is taken if nothing else could go on for so long, or until then; of several the nearest. Zero or less:
/// if nothing can go on at once.
template <class F = detail::no_handler>
[[nodiscard]] auto on_timeout(detail::any_duration patience, F&& f = {}) {
  return detail::timeout_case<std::decay_t<F>>(detail::select_deadline_in(patience.ns()), std::forward<F>(f));
}
template <class F = detail::no_handler>
[[nodiscard]] auto on_deadline(clock::time_point when, F&& f = {}) {
  return detail::timeout_case<std::decay_t<F>>(
      detail::select_deadline_at(std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count()),
      std::forward<F>(f));
}

/// A case that is taken if nothing can go on at this moment: select then does not wait.
template <class F = detail::no_handler>
[[nodiscard]] auto on_default(F&& f = {}) {
  return detail::default_case<std::decay_t<F>>(std::forward<F>(f));
}

/// select waits until one of the cases can go on, does it, runs its handler, and gives its index. Of several that can
/// go on it takes one at random, each with the same probability.
///
/// The decision is one atomic look at all cases. The handler runs with no lock held, and may wait and throw. Cases of
/// nil channels are never taken; if no case can ever be taken it waits for ever. Cancellable: it throws `cancelled`
/// before it does anything. Throws channel_closed if the case it took is a send and the channel is closed, also beside
/// a default; std::system_error (operation_canceled) on a plain thread when the runtime ends. Does not allocate.
template <detail::case_of_select... Cases>
std::size_t select(Cases&&... cases) {
  static_assert((!std::is_lvalue_reference_v<Cases> && ...), "the cases of a select are made in its call");
  return detail::select_among(false, cases...);
}

/// select_biased does the same, but takes the first in order of those that can go on.
template <detail::case_of_select... Cases>
std::size_t select_biased(Cases&&... cases) {
  static_assert((!std::is_lvalue_reference_v<Cases> && ...), "the cases of a select are made in its call");
  return detail::select_among(true, cases...);
}

/// selector is a select whose cases are known at run time only. It owns handles, values and handlers, and runs once.
/// Belongs to one fiber or thread at a time.
class selector {
 public:
  selector() = default;
  selector(selector&&) noexcept = default;
  selector& operator=(selector&&) noexcept = default;

  /// The cases, as the functions of the same names make them. Throw std::bad_alloc; on_join also std::logic_error.
  template <detail::receivable Chan, class F = detail::no_handler>
  selector& on_recv(Chan from, F&& f = {}) {
    detail::chan_core* const core = detail::chan_insight::core(from);
    return add<detail::recv_case<detail::element_of<Chan>, std::decay_t<F>>>(std::move(from), core, std::forward<F>(f));
  }
  template <detail::sendable Chan, class U = detail::element_of<Chan>, class F = detail::no_handler>
  requires detail::sent_as<U, detail::element_of<Chan>> selector& on_send(Chan to, U&& value, F&& f = {}) {
    detail::chan_core* const core = detail::chan_insight::core(to);
    return add<detail::send_case<detail::element_of<Chan>, std::decay_t<F>>>(
        std::move(to), core, std::forward<U>(value), std::forward<F>(f));
  }
  template <detail::sendable Chan, class F = detail::no_handler>
  requires(std::is_void_v<detail::element_of<Chan>>) selector& on_send(Chan to, F&& f = {}) {
    detail::chan_core* const core = detail::chan_insight::core(to);
    return add<detail::send_case<void, std::decay_t<F>>>(std::move(to), core, std::forward<F>(f));
  }
  /// `of` must live until `run` has returned.
  template <class T, class F = detail::no_handler>
  selector& on_join(const fiber<T>& of, F&& f = {}) {
    return add<detail::join_case<std::decay_t<F>>>(nullptr, detail::fiber_insight::state(of), std::forward<F>(f));
  }
  /// `of` must live until `run` has returned.
  template <class F = detail::no_handler>
  selector& on_event(event& of, F&& f = {}) {
    return add<detail::event_case<std::decay_t<F>>>(nullptr, &of, std::forward<F>(f));
  }
  /// `of` must live until `run` has returned.
  template <class F = detail::no_handler>
  selector& on_readable(detail::net_object& of, F&& f = {}) {
    return add<detail::ready_case<std::decay_t<F>>>(nullptr, of, false, std::forward<F>(f));
  }
  template <class F = detail::no_handler>
  selector& on_writable(detail::net_object& of, F&& f = {}) {
    return add<detail::ready_case<std::decay_t<F>>>(nullptr, of, true, std::forward<F>(f));
  }
  /// The time runs from here on.
  template <class F = detail::no_handler>
  selector& on_timeout(detail::any_duration patience, F&& f = {}) {
    return add<detail::timeout_case<std::decay_t<F>>>(nullptr, detail::select_deadline_in(patience.ns()),
                                                      std::forward<F>(f));
  }
  template <class F = detail::no_handler>
  selector& on_deadline(clock::time_point when, F&& f = {}) {
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count();
    return add<detail::timeout_case<std::decay_t<F>>>(nullptr, detail::select_deadline_at(ns), std::forward<F>(f));
  }
  template <class F = detail::no_handler>
  selector& on_default(F&& f = {}) {
    return add<detail::default_case<std::decay_t<F>>>(nullptr, std::forward<F>(f));
  }

  /// How many cases there are.
  [[nodiscard]] std::size_t size() const noexcept { return cases_.size(); }

  /// As select and select_biased; the index is that of the order in which the cases were added. A second time:
  /// std::logic_error.
  std::size_t run() { return run(false); }
  std::size_t run_biased() { return run(true); }

 private:
  struct any_case {
    virtual ~any_case() = default;
    virtual detail::select_entry entry(std::uint32_t index, detail::select_plan& plan) noexcept = 0;
    virtual void finish(bool closed) = 0;
  };
  template <class Case, class Keep>
  struct held final : any_case {
    template <class... Args>
    explicit held(Keep keep, Args&&... args) : kept(std::move(keep)), it(std::forward<Args>(args)...) {}
    detail::select_entry entry(std::uint32_t index, detail::select_plan& plan) noexcept override {
      return it.entry(index, plan);
    }
    void finish(bool closed) override { it.finish(closed); }
    [[no_unique_address]] Keep kept;
    Case it;
  };
  template <class Case, class Keep, class... Args>
  selector& add(Keep keep, Args&&... args) {
    cases_.push_back(std::make_unique<held<Case, Keep>>(std::move(keep), std::forward<Args>(args)...));
    return *this;
  }

  std::size_t run(bool biased) {
    if (std::exchange(done_, true))
      throw std::logic_error("weft: a selector runs once; make a new one for the next choice");
    detail::select_plan plan;
    plan.biased = biased;
    std::vector<detail::select_entry> entries;
    entries.reserve(cases_.size());
    for (const auto& one : cases_) entries.push_back(one->entry(static_cast<std::uint32_t>(entries.size()), plan));
    const auto room = std::make_unique<void*[]>((cases_.size() * detail::select_room + sizeof(void*)) / sizeof(void*));
    const detail::select_result found =
        detail::select_run_as_planned(entries.data(), static_cast<std::uint32_t>(entries.size()), plan, room.get());
    cases_[found.index]->finish(found.closed);
    return found.index;
  }

  std::vector<std::unique_ptr<any_case>> cases_;
  bool done_ = false;
};

}  // namespace v0
}  // namespace weft
