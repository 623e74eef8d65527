// SPDX-License-Identifier: Apache-2.0
// Channels: typed, first in first out, between fibers and plain threads alike.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>

#include <weft/detail/chan_core.hpp>
#include <weft/error.hpp>

namespace weft::inline v0 {

/// try_result is what `try_recv` and `recv_for` give: how it went, and the value if it went well.
template <class T>
struct try_result {
  chan_status status;
  std::optional<T> value;
};

namespace detail {

template <class T>
union raw_slot {
  raw_slot() noexcept {}
  ~raw_slot() {}
  T value;
};

/// Takes the value out of a slot that was filled.
template <class T>
std::optional<T> take(raw_slot<T>& slot) noexcept {
  std::optional<T> value(std::move(slot.value));
  std::destroy_at(&slot.value);
  return value;
}

template <class T>
class recv_iterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using pointer = T*;
  using reference = T&;
  using iterator_category = std::input_iterator_tag;

  recv_iterator() noexcept = default;
  explicit recv_iterator(chan_core* c) : core_(c) { ++*this; }
  T& operator*() const noexcept { return *value_; }
  T* operator->() const noexcept { return &*value_; }
  recv_iterator& operator++() {
    value_.reset();
    raw_slot<T> slot;
    if (chan_receive(core_, &slot.value)) value_ = take(slot);
    return *this;
  }
  void operator++(int) { ++*this; }
  bool operator==(std::default_sentinel_t) const noexcept { return !value_.has_value(); }

 private:
  chan_core* core_ = nullptr;
  mutable std::optional<T> value_;
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

 private:
  chan_core* core_ = nullptr;
};

}  // namespace detail

/// chan is a handle to a channel of T; copies are the same channel. All operations are const and may be called by any
/// fiber or thread.
///
/// Values and waiters are first in, first out; a waiting receiver is handed the value directly. What happened before a
/// send happens before its receive completes; a close happens before a receive that returns because of it. T must be
/// nothrow move constructible and nothrow destructible; `chan<void>` carries signals. `chan<T>(nullptr)` is nil: it is
/// never ready.
///
/// ```cpp
/// weft::chan<int> c(16);
/// weft::scope s;
/// s.go([=] { for (int i = 0; i < 100; ++i) c.send(i); c.close(); });
/// for (int v : c) use(v);
/// s.join();
/// ```
template <class T>
class chan {
 public:
  using value_type = T;

  /// An unbuffered channel.
  chan() : chan(std::ptrdiff_t{0}) {}
  /// A channel with room for `capacity` values; 0 is unbuffered. A negative or absurd capacity throws
  /// std::length_error.
  template <std::integral N>
  requires(!std::same_as<N, bool>) explicit chan(N capacity)
      : handle_(detail::chan_make(detail::element_ops_of<T>::value, to_capacity(capacity))) {}
  /// The nil channel.
  explicit chan(std::nullptr_t) noexcept {}

  /// Sends; waits while there is no room. Cancellable. Throws channel_closed if the channel is closed, also while it
  /// waits. `value` is moved from only if the send happens.
  void send(T&& value) const { detail::chan_send(handle_.get(), std::addressof(value)); }
  void send(const T& value) const requires std::copy_constructible<T> {
    T copy(value);  // copied before the lock is taken: copying is user code
    detail::chan_send(handle_.get(), std::addressof(copy));
  }
  /// Receives; waits while there is nothing. nullopt: closed and drained. Cancellable.
  std::optional<T> recv() const {
    detail::raw_slot<T> slot;
    if (!detail::chan_receive(handle_.get(), std::addressof(slot.value))) return std::nullopt;
    return detail::take(slot);
  }
  /// Sends if that needs no waiting: ok, full or closed.
  [[nodiscard]] chan_status try_send(T&& value) const noexcept {
    return detail::chan_try_send(handle_.get(), std::addressof(value));
  }
  [[nodiscard]] chan_status try_send(const T& value) const requires std::copy_constructible<T> {
    T copy(value);
    return detail::chan_try_send(handle_.get(), std::addressof(copy));
  }
  /// Receives if that needs no waiting: ok with a value, empty, or closed (and drained).
  try_result<T> try_recv() const noexcept {
    detail::raw_slot<T> slot;
    return result(detail::chan_try_receive(handle_.get(), std::addressof(slot.value)), slot);
  }
  /// As try_send and try_recv, with patience. Cancellable.
  [[nodiscard]] chan_status send_for(T&& value, detail::any_duration patience) const {
    return detail::chan_send_for(handle_.get(), std::addressof(value), patience);
  }
  [[nodiscard]] chan_status send_for(const T& value,
                                     detail::any_duration patience) const requires std::copy_constructible<T> {
    T copy(value);
    return detail::chan_send_for(handle_.get(), std::addressof(copy), patience);
  }
  try_result<T> recv_for(detail::any_duration patience) const {
    detail::raw_slot<T> slot;
    return result(detail::chan_receive_for(handle_.get(), std::addressof(slot.value), patience), slot);
  }
  /// No more sends; receivers drain what is there. Never waits. Throws channel_closed if it is closed already, or nil.
  void close() const { detail::chan_close(handle_.get()); }

  /// How many values are buffered; 0 for a nil channel.
  [[nodiscard]] std::size_t size() const noexcept { return detail::chan_size(handle_.get()); }
  [[nodiscard]] std::size_t capacity() const noexcept { return detail::chan_capacity(handle_.get()); }

  /// Receives until the channel is closed and drained. Each step waits as `recv` does, and throws out of the loop if
  /// cancelled.
  detail::recv_iterator<T> begin() const { return detail::recv_iterator<T>(handle_.get()); }
  std::default_sentinel_t end() const noexcept { return {}; }

  explicit operator bool() const noexcept { return handle_.get() != nullptr; }
  friend bool operator==(const chan& a, const chan& b) noexcept { return a.handle_.get() == b.handle_.get(); }
  friend bool operator==(const chan& a, std::nullptr_t) noexcept { return a.handle_.get() == nullptr; }

 private:
  template <class N>
  static std::ptrdiff_t to_capacity(N n) noexcept {
    return std::in_range<std::ptrdiff_t>(n) ? static_cast<std::ptrdiff_t>(n) : std::ptrdiff_t{-1};
  }
  static try_result<T> result(chan_status status, detail::raw_slot<T>& slot) noexcept {
    if (status != chan_status::ok) return {status, std::nullopt};
    return {status, detail::take(slot)};
  }

  friend struct detail::chan_insight;
  detail::chan_handle handle_;
};

/// chan<void> carries signals without a value.
template <>
class chan<void> {
 public:
  using value_type = void;

  chan() : chan(std::ptrdiff_t{0}) {}
  template <std::integral N>
  requires(!std::same_as<N, bool>) explicit chan(N capacity)
      : handle_(detail::chan_make(detail::element_ops_of<void>::value, std::in_range<std::ptrdiff_t>(capacity)
                                                                           ? static_cast<std::ptrdiff_t>(capacity)
                                                                           : -1)) {}
  explicit chan(std::nullptr_t) noexcept {}

  void send() const { detail::chan_send(handle_.get(), nothing()); }
  /// False: closed and drained.
  bool recv() const { return detail::chan_receive(handle_.get(), nothing()); }
  [[nodiscard]] chan_status try_send() const noexcept { return detail::chan_try_send(handle_.get(), nothing()); }
  [[nodiscard]] chan_status try_recv() const noexcept { return detail::chan_try_receive(handle_.get(), nothing()); }
  [[nodiscard]] chan_status send_for(detail::any_duration patience) const {
    return detail::chan_send_for(handle_.get(), nothing(), patience);
  }
  [[nodiscard]] chan_status recv_for(detail::any_duration patience) const {
    return detail::chan_receive_for(handle_.get(), nothing(), patience);
  }
  void close() const { detail::chan_close(handle_.get()); }
  [[nodiscard]] std::size_t size() const noexcept { return detail::chan_size(handle_.get()); }
  [[nodiscard]] std::size_t capacity() const noexcept { return detail::chan_capacity(handle_.get()); }
  explicit operator bool() const noexcept { return handle_.get() != nullptr; }
  friend bool operator==(const chan& a, const chan& b) noexcept { return a.handle_.get() == b.handle_.get(); }
  friend bool operator==(const chan& a, std::nullptr_t) noexcept { return a.handle_.get() == nullptr; }

 private:
  /// An address for the zero bytes of a signal.
  static void* nothing() noexcept {
    static char at;
    return &at;
  }

  detail::chan_handle handle_;
};

}  // namespace weft::inline v0
