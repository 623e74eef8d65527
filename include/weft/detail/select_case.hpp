// SPDX-License-Identifier: Apache-2.0
// The cases of a select: what `on_recv` and the others make. Each has two members, and there is no other interface:
//   select_entry entry(std::uint32_t index, select_plan& plan)   what is waited for, or a word in the plan (time-outs,
//                                                                default)
//   void finish(bool closed)                                     after the decision, if it is the one: with no lock
//                                                                held; may throw
//
// Handlers are invoked as rvalues, once, and what they return is dropped. They are called by qualified names only, and
// so are the users' element types handled: an unqualified name would find functions in the element's namespace.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <weft/chan.hpp>
#include <weft/detail/select_run.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>

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

/// A handler takes what the case yields, or nothing. It is an rvalue, unless it can be called as an lvalue only.
template <class F, class... Yields>
void run_handler(F& f, Yields&&... yields) {
  if constexpr (std::invocable<F, Yields...>) {
    static_cast<void>(std::invoke(std::move(f), std::forward<Yields>(yields)...));
  } else if constexpr (std::invocable<F&, Yields...>) {
    static_cast<void>(std::invoke(f, std::forward<Yields>(yields)...));
  } else if constexpr (std::invocable<F>) {
    static_cast<void>(std::invoke(std::move(f)));
  } else {
    static_assert(std::invocable<F&>,
                  "a handler of on_recv takes std::optional<T> (bool for chan<void>), or nothing; "
                  "those of the other cases take nothing");
    static_cast<void>(std::invoke(f));
  }
}

/// A value converted as an argument of `send` is: implicitly only.
template <class T, class U>
T converted(U&& value) {
  return std::forward<U>(value);
}
template <class U, class T>
concept sent_as = std::is_convertible_v<U, T>;

template <class T, class F>
class recv_case : select_case {
 public:
  template <class G>
  recv_case(chan_core* from, G&& f) : from_(from), f_(std::forward<G>(f)) {}
  select_entry entry(std::uint32_t, select_plan&) noexcept { return detail::chan_receive_case(from_, slot_.get()); }
  void finish(bool closed) { detail::run_handler(f_, closed ? std::optional<T>() : slot_.take()); }

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
  select_entry entry(std::uint32_t, select_plan&) noexcept {
    return detail::chan_receive_case(from_, detail::no_value());
  }
  void finish(bool closed) { detail::run_handler(f_, !closed); }

 private:
  chan_core* from_;
  [[no_unique_address]] F f_;
};

/// `V` is T, a value of the case's own, or T&&, the caller's, which is moved from only if the case is the one.
template <class V, class F>
class send_case : select_case {
 public:
  template <class U, class G>
  send_case(chan_core* to, U&& value, G&& f)
      : to_(to), value_(detail::converted<V>(std::forward<U>(value))), f_(std::forward<G>(f)) {}
  select_entry entry(std::uint32_t, select_plan&) noexcept {
    return detail::chan_send_case(to_, std::addressof(value_));
  }
  void finish(bool closed) {
    if (closed) detail::chan_throw_closed(to_);
    detail::run_handler(f_);
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
  select_entry entry(std::uint32_t, select_plan&) noexcept { return detail::chan_send_case(to_, detail::no_value()); }
  void finish(bool closed) {
    if (closed) detail::chan_throw_closed(to_);
    detail::run_handler(f_);
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
  void finish(bool) { detail::run_handler(f_); }

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
  void finish(bool) { detail::run_handler(f_); }

 private:
  event* of_;
  [[no_unique_address]] F f_;
};

template <class F>
class ready_case : select_case {
 public:
  template <class G>
  ready_case(net_object& of, bool to_write, G&& f) : look_{&of, to_write, {}}, f_(std::forward<G>(f)) {}
  select_entry entry(std::uint32_t, select_plan& plan) noexcept { return detail::ready_entry(look_, plan); }
  void finish(bool) { detail::run_handler(f_); }

 private:
  ready_look look_;
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
  void finish(bool) { detail::run_handler(f_); }

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
  void finish(bool) { detail::run_handler(f_); }

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
  const select_result found = select_run_as_planned(entries.data(), count, plan, room);
  next = 0;
  ((next++ == found.index ? cases.finish(found.closed) : void()), ...);
  return found.index;
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
