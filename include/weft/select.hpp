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

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include <weft/chan.hpp>
#include <weft/detail/select_run.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/time.hpp>

namespace weft {
inline namespace v0 {

namespace detail {

struct no_handler {
  void operator()() const noexcept {}
};

// Cases are neither copied nor moved: what they point at lives as long as the expression that made them.
struct select_case {
  select_case() noexcept = default;
  select_case(const select_case&) = delete;
  select_case& operator=(const select_case&) = delete;
};

/// A handler takes what the case yields, or nothing.
template <class F, class... Yields>
void handle(F& f, Yields&&... yields) {
  if constexpr (std::invocable<F&, Yields...>) {
    std::invoke(f, std::forward<Yields>(yields)...);
  } else {
    static_assert(std::invocable<F&>,
                  "a handler of on_recv takes std::optional<T> (bool for chan<void>), or nothing; "
                  "those of the other cases take nothing");
    std::invoke(f);
  }
}

template <class T, class F>
class recv_case : select_case {
 public:
  template <class G>
  recv_case(chan_core* from, G&& f) : from_(from), f_(std::forward<G>(f)) {}
  select_entry entry(std::uint32_t, select_plan&) noexcept {
    return chan_receive_case(from_, std::addressof(slot_.value));
  }
  void finish(bool closed) { handle(f_, closed ? std::optional<T>() : take(slot_)); }

 private:
  chan_core* from_;
  raw_slot<T> slot_;
  [[no_unique_address]] F f_;
};

template <class F>
class recv_case<void, F> : select_case {
 public:
  template <class G>
  recv_case(chan_core* from, G&& f) : from_(from), f_(std::forward<G>(f)) {}
  select_entry entry(std::uint32_t, select_plan&) noexcept { return chan_receive_case(from_, no_value()); }
  void finish(bool closed) { handle(f_, !closed); }

 private:
  chan_core* from_;
  [[no_unique_address]] F f_;
};

/// `V` is T, a value of the case's own, or T&&, the caller's, which is moved from only if the case is the one.
template <class V, class F>
class send_case : select_case {
 public:
  template <class U, class G>
  send_case(chan_core* to, U&& value, G&& f) : to_(to), value_(std::forward<U>(value)), f_(std::forward<G>(f)) {}
  select_entry entry(std::uint32_t, select_plan&) noexcept { return chan_send_case(to_, std::addressof(value_)); }
  void finish(bool closed) {
    if (closed) chan_throw_closed(to_);
    handle(f_);
  }

 private:
  chan_core* to_;
  V value_;
  [[no_unique_address]] F f_;
};

template <class F>
class send_case<void, F> : select_case {
 public:
  template <class G>
  send_case(chan_core* to, G&& f) : to_(to), f_(std::forward<G>(f)) {}
  select_entry entry(std::uint32_t, select_plan&) noexcept { return chan_send_case(to_, no_value()); }
  void finish(bool closed) {
    if (closed) chan_throw_closed(to_);
    handle(f_);
  }

 private:
  chan_core* to_;
  [[no_unique_address]] F f_;
};

template <class F>
class join_case : select_case {
 public:
  template <class G>
  join_case(completion* of, G&& f) : of_(of), f_(std::forward<G>(f)) {
    if (of_ == nullptr)
      throw std::logic_error("weft: on_join of an empty fiber handle (moved from, detached, or joined before)");
  }
  select_entry entry(std::uint32_t, select_plan&) noexcept { return of_->end_case(); }
  void finish(bool) { handle(f_); }

 private:
  completion* of_;
  [[no_unique_address]] F f_;
};

template <class F>
class event_case : select_case {
 public:
  template <class G>
  event_case(event* of, G&& f) : of_(of), f_(std::forward<G>(f)) {}
  select_entry entry(std::uint32_t, select_plan&) noexcept { return event_insight::set_case(*of_); }
  void finish(bool) { handle(f_); }

 private:
  event* of_;
  [[no_unique_address]] F f_;
};

template <class F>
class timeout_case : select_case {
 public:
  template <class G>
  timeout_case(std::int64_t when, G&& f) : when_(when), f_(std::forward<G>(f)) {}
  select_entry entry(std::uint32_t index, select_plan& plan) noexcept {
    plan.add_deadline(index, when_);
    return {};
  }
  void finish(bool) { handle(f_); }

 private:
  std::int64_t when_;
  [[no_unique_address]] F f_;
};

template <class F>
class default_case : select_case {
 public:
  template <class G>
  explicit default_case(G&& f) : f_(std::forward<G>(f)) {}
  select_entry entry(std::uint32_t index, select_plan& plan) noexcept {
    if (plan.otherwise == select_plan::absent) plan.otherwise = index;
    return {};
  }
  void finish(bool) { handle(f_); }

 private:
  [[no_unique_address]] F f_;
};

template <class C>
using element_of = typename C::value_type;

/// A handle whose channel one can receive from, or send to.
template <class C>
concept receivable = requires(const C& c) {
  typename C::value_type;
  chan_insight::core(c);
  c.recv();
};
template <class C>
concept sends_nothing = requires(const C& c) {
  c.send();
};
template <class C>
concept sends_values = requires(const C& c, typename C::value_type v) {
  c.send(std::move(v));
};
template <class C>
concept has_room = requires(const C& c) {
  typename C::value_type;
  chan_insight::core(c);
  c.capacity();
};
template <class C>
concept sends = sends_nothing<C> || sends_values<C>;
template <class C>
concept sendable = has_room<C> && sends<C>;

template <class C>
concept case_of_select = requires(C& c, select_plan& plan) {
  { c.entry(std::uint32_t{}, plan) } -> std::same_as<select_entry>;
  c.finish(bool{});
};

template <class... Cases>
std::size_t select_among(bool biased, Cases&... cases) {
  constexpr std::uint32_t count = sizeof...(Cases);
  select_plan plan;
  plan.biased = biased;
  std::uint32_t next = 0;
  const std::array<select_entry, count> entries{cases.entry(next++, plan)...};
  alignas(void*) std::byte room[count * select_room + 1];
  const select_result found = select_run(entries.data(), count, plan, room);
  next = 0;
  ((next++ == found.index ? cases.finish(found.closed) : void()), ...);
  return found.index;
}

}  // namespace detail

/// A case that receives: `f` gets std::optional<T>, nullopt if the channel is closed and drained; for a channel of void
/// a bool. `from` is a chan, recv_chan or receiver. To be made in the call of select.
template <detail::receivable Chan, class F = detail::no_handler>
[[nodiscard]] auto on_recv(const Chan& from, F&& f = {}) {
  return detail::recv_case<detail::element_of<Chan>, std::decay_t<F>>(detail::chan_insight::core(from),
                                                                      std::forward<F>(f));
}

/// A case that sends. An rvalue of the channel's type is moved from only if the case is the one; another value is
/// converted or copied as the case is made. If the channel is closed, select throws channel_closed.
template <detail::sendable Chan, class U, class F = detail::no_handler>
requires(!std::is_void_v<detail::element_of<Chan>>) [[nodiscard]] auto on_send(const Chan& to, U&& value, F&& f = {}) {
  using T = detail::element_of<Chan>;
  static_assert(std::is_constructible_v<T, U&&>,
                "on_send(channel, value, handler): the value is not one of the channel's");
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
  template <detail::sendable Chan, class U, class F = detail::no_handler>
  requires(!std::is_void_v<detail::element_of<Chan>>) selector& on_send(Chan to, U&& value, F&& f = {}) {
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
        detail::select_run(entries.data(), static_cast<std::uint32_t>(entries.size()), plan, room.get());
    cases_[found.index]->finish(found.closed);
    return found.index;
  }

  std::vector<std::unique_ptr<any_case>> cases_;
  bool done_ = false;
};

}  // namespace v0
}  // namespace weft
