// SPDX-License-Identifier: Apache-2.0
// What the handles of a channel are made of: the counted reference, the operations of each side, the iterator. The
// handles themselves are in weft/chan.hpp.
//
// Invariants
//  1. A handle owns one count of its channel, an end one more of its side. A view or an iterator owns a handle only: it
//     keeps the channel's memory, and closes nothing when it goes.
//  2. Of the element type nothing is asked but nothrow move construction and destruction: no `&`, no assignment, and no
//     call by an unqualified name, which would find functions in the element's namespace.
#pragma once

#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <weft/detail/chan_core.hpp>
#include <weft/error.hpp>

namespace weft {
inline namespace v0 {

template <class T>
struct try_result;

namespace detail {

/// Raw storage for one value.
template <class T>
union raw_slot {
  raw_slot() noexcept {}
  ~raw_slot() {}
  T* get() noexcept { return std::addressof(value); }
  /// Takes the value out, if the slot was filled.
  std::optional<T> take() noexcept {
    std::optional<T> taken(std::in_place, std::move(value));
    std::destroy_at(get());
    return taken;
  }
  T value;
};

/// A counted reference to a channel; null is the nil channel.
class chan_handle {
 public:
  constexpr chan_handle() noexcept = default;
  explicit chan_handle(chan_core* adopted) noexcept : core_(adopted) {}
  chan_handle(const chan_handle& other) noexcept : core_(other.core_) { chan_retain(core_); }
  chan_handle(chan_handle&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  chan_handle& operator=(chan_handle other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~chan_handle() {
    if (core_ != nullptr) chan_release(core_);
  }
  chan_core* get() const noexcept { return core_; }
  const chan_handle& uncounted() const noexcept { return *this; }

 private:
  chan_core* core_ = nullptr;
};

/// The same, that also counts as one of the channel's senders or receivers: the last of a side to go closes it.
template <chan_side Side>
class chan_end {
 public:
  constexpr chan_end() noexcept = default;
  /// Adopts a handle, and one count of `Side`.
  explicit chan_end(chan_handle adopted) noexcept : handle_(std::move(adopted)) {}
  chan_end(const chan_end& other) noexcept : handle_(other.handle_) { chan_enter(handle_.get(), Side); }
  chan_end(chan_end&& other) noexcept = default;
  chan_end& operator=(chan_end other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~chan_end() { chan_leave(handle_.get(), Side); }
  chan_core* get() const noexcept { return handle_.get(); }
  const chan_handle& uncounted() const noexcept { return handle_; }

 private:
  chan_handle handle_;
};

/// The iterator of a channel. It holds the channel, and receives only when it is looked at:
///   untouched    `*`, `->` or a comparison receives, and makes it `full` or `ended`; `++` receives and drops a value
///   full         a value was received; `++` drops it, and makes it `untouched`
///   ended        the channel is closed and drained: it equals the end
template <class T>
class recv_iterator {
  enum class state : std::uint8_t { untouched, full, ended };

 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using pointer = T*;
  using reference = T&;
  using iterator_category = std::input_iterator_tag;

  recv_iterator() noexcept {}
  explicit recv_iterator(chan_handle of) noexcept : channel_(std::move(of)), state_(state::untouched) {}
  recv_iterator(const recv_iterator& other) requires std::copy_constructible<T> : channel_(other.channel_) {
    if (other.state_ == state::full) ::new (room()) T(std::as_const(other.slot_.value));
    state_ = other.state_;
  }
  recv_iterator(recv_iterator&& other) noexcept : channel_(std::move(other.channel_)) { take_over(other); }
  recv_iterator& operator=(const recv_iterator& other) requires std::copy_constructible<T> {
    return *this = recv_iterator(other);
  }
  recv_iterator& operator=(recv_iterator&& other) noexcept {
    if (this == std::addressof(other)) return *this;
    drop();
    channel_ = std::move(other.channel_);
    take_over(other);
    return *this;
  }
  ~recv_iterator() { drop(); }

  /// Waits, cancellably, if no value was received yet. At the end: std::logic_error.
  T& operator*() const {
    if (!look()) detail::chan_throw_past_the_end();
    return slot_.value;
  }
  T* operator->() const { return std::addressof(**this); }
  /// Waits, cancellably, only past a value that was never looked at, which is received and dropped.
  recv_iterator& operator++() {
    look();
    drop();
    return *this;
  }
  void operator++(int) { ++*this; }
  /// Waits, cancellably, if no value was received yet.
  bool operator==(std::default_sentinel_t) const { return !look(); }

 private:
  bool look() const {
    if (state_ == state::untouched) state_ = detail::chan_receive(channel_.get(), room()) ? state::full : state::ended;
    return state_ == state::full;
  }
  void* room() const noexcept { return slot_.get(); }
  void drop() noexcept {
    if (state_ != state::full) return;
    std::destroy_at(slot_.get());
    state_ = state::untouched;
  }
  void take_over(recv_iterator& other) noexcept {
    if (other.state_ == state::full) {
      ::new (room()) T(std::move(other.slot_.value));
      other.drop();
      state_ = state::full;
    } else {
      state_ = other.state_;
    }
    other.state_ = state::ended;
  }

  chan_handle channel_;
  mutable raw_slot<T> slot_;
  mutable state state_ = state::ended;
};

/// What every kind of handle can do.
template <class Handle>
class chan_ref {
 public:
  /// How many values are buffered; 0 for a nil channel.
  [[nodiscard]] std::size_t size() const noexcept { return detail::chan_size(core()); }
  [[nodiscard]] std::size_t capacity() const noexcept { return detail::chan_capacity(core()); }
  /// Whether it is not nil.
  explicit operator bool() const noexcept { return core() != nullptr; }

 protected:
  chan_ref() noexcept = default;
  explicit chan_ref(Handle handle) noexcept : handle_(std::move(handle)) {}

  chan_core* core() const noexcept { return handle_.get(); }
  Handle handle_;

 private:
  friend struct chan_insight;
};

/// The order of handles of one type, which is that of their channels: equal handles are the same channel.
template <class Self>
struct chan_order {
  friend bool operator==(const Self& a, const Self& b) noexcept {
    return chan_insight::core(a) == chan_insight::core(b);
  }
  friend bool operator==(const Self& a, std::nullptr_t) noexcept { return chan_insight::core(a) == nullptr; }
  friend std::strong_ordering operator<=>(const Self& a, const Self& b) noexcept {
    return std::compare_three_way()(chan_insight::core(a), chan_insight::core(b));
  }
};

/// std::hash of each kind of handle.
struct chan_hash {
  template <class Chan>
  std::size_t operator()(const Chan& c) const noexcept {
    return std::hash<const void*>()(chan_insight::core(c));
  }
};

/// The receiving side.
template <class Base, class T>
class receiving : public Base {
 public:
  /// Receives; waits while there is nothing. nullopt: closed and drained. Cancellable.
  std::optional<T> recv() const {
    raw_slot<T> slot;
    if (!detail::chan_receive(this->core(), slot.get())) return std::nullopt;
    return slot.take();
  }
  /// Receives if that needs no waiting: ok with a value, empty, or closed (and drained).
  try_result<T> try_recv() const noexcept {
    raw_slot<T> slot;
    return result(detail::chan_try_receive(this->core(), slot.get()), slot);
  }
  /// As try_recv, with patience. Cancellable.
  try_result<T> recv_for(any_duration patience) const {
    raw_slot<T> slot;
    return result(detail::chan_receive_for(this->core(), slot.get(), patience), slot);
  }
  /// Receives until the channel is closed and drained. The iterator keeps the channel, and receives when it is looked
  /// at: `views::take(n)` takes n values and no more. Each receive waits as `recv` does, and throws out of the loop if
  /// cancelled.
  recv_iterator<T> begin() const noexcept { return recv_iterator<T>(this->handle_.uncounted()); }
  std::default_sentinel_t end() const noexcept { return {}; }

 protected:
  using Base::Base;

 private:
  static try_result<T> result(chan_status status, raw_slot<T>& slot) noexcept {
    if (status != chan_status::ok) return {status, std::nullopt};
    return {status, slot.take()};
  }
};

/// An address for the zero bytes of a signal.
inline void* no_value() noexcept {
  static char at;
  return &at;
}

template <class Base>
class receiving<Base, void> : public Base {
 public:
  /// Waits for a signal; false: closed and drained. Cancellable.
  bool recv() const { return detail::chan_receive(this->core(), detail::no_value()); }
  /// The same without waiting: ok, empty, or closed (and drained).
  [[nodiscard]] chan_status try_recv() const noexcept {
    return detail::chan_try_receive(this->core(), detail::no_value());
  }
  /// As try_recv, with patience. Cancellable.
  [[nodiscard]] chan_status recv_for(any_duration patience) const {
    return detail::chan_receive_for(this->core(), detail::no_value(), patience);
  }

 protected:
  using Base::Base;
};

/// The sending side.
template <class Base, class T>
class sending : public Base {
 public:
  /// Sends; waits while there is no room. Cancellable. Throws channel_closed if the channel is closed, also while it
  /// waits. `value` is moved from only if the send happens.
  void send(T&& value) const { detail::chan_send(this->core(), std::addressof(value)); }
  void send(const T& value) const requires std::copy_constructible<T> {
    T copy(value);  // copied before the lock is taken: copying is user code
    detail::chan_send(this->core(), std::addressof(copy));
  }
  /// Sends if that needs no waiting: ok, full or closed.
  [[nodiscard]] chan_status try_send(T&& value) const noexcept {
    return detail::chan_try_send(this->core(), std::addressof(value));
  }
  [[nodiscard]] chan_status try_send(const T& value) const requires std::copy_constructible<T> {
    T copy(value);
    return detail::chan_try_send(this->core(), std::addressof(copy));
  }
  /// As try_send, with patience. Cancellable.
  [[nodiscard]] chan_status send_for(T&& value, any_duration patience) const {
    return detail::chan_send_for(this->core(), std::addressof(value), patience);
  }
  [[nodiscard]] chan_status send_for(const T& value, any_duration patience) const requires std::copy_constructible<T> {
    T copy(value);
    return detail::chan_send_for(this->core(), std::addressof(copy), patience);
  }

 protected:
  using Base::Base;
};

template <class Base>
class sending<Base, void> : public Base {
 public:
  /// Sends a signal; waits while there is no room. Cancellable. Throws channel_closed as the send of a value does.
  void send() const { detail::chan_send(this->core(), detail::no_value()); }
  /// The same without waiting: ok, full or closed.
  [[nodiscard]] chan_status try_send() const noexcept {
    return detail::chan_try_send(this->core(), detail::no_value());
  }
  /// As try_send, with patience. Cancellable.
  [[nodiscard]] chan_status send_for(any_duration patience) const {
    return detail::chan_send_for(this->core(), detail::no_value(), patience);
  }

 protected:
  using Base::Base;
};

/// The right to close.
template <class Base>
class closing : public Base {
 public:
  /// No more sends; receivers drain what is there. Never waits. Throws channel_closed if it is closed already, or nil.
  void close() const { detail::chan_close(this->core()); }

 protected:
  using Base::Base;
};

template <class N>
constexpr std::ptrdiff_t to_capacity(N n) noexcept {
  constexpr std::ptrdiff_t most = std::numeric_limits<std::ptrdiff_t>::max();  // more than any memory has room for
  return std::in_range<std::ptrdiff_t>(n) ? static_cast<std::ptrdiff_t>(n) : most;
}

template <class N>
concept capacity_type = std::integral<N> && !std::same_as<N, bool>;

// What each kind of handle is built on.
template <class T>
using whole_chan = closing<sending<receiving<chan_ref<chan_handle>, T>, T>>;
template <class T>
using receiving_view = receiving<chan_ref<chan_handle>, T>;
template <class T>
using sending_view = closing<sending<chan_ref<chan_handle>, T>>;
using sending_end = chan_end<chan_side::send>;
using receiving_end = chan_end<chan_side::receive>;

}  // namespace detail
}  // namespace v0
}  // namespace weft
