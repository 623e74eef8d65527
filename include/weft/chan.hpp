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

namespace weft {
inline namespace v0 {

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

 private:
  chan_handle handle_;
};

/// What every kind of handle can do.
template <class Handle>
class chan_ref {
 public:
  /// How many values are buffered; 0 for a nil channel.
  [[nodiscard]] std::size_t size() const noexcept { return chan_size(core()); }
  [[nodiscard]] std::size_t capacity() const noexcept { return chan_capacity(core()); }
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

/// The receiving side.
template <class Base, class T>
class receiving : public Base {
 public:
  /// Receives; waits while there is nothing. nullopt: closed and drained. Cancellable.
  std::optional<T> recv() const {
    raw_slot<T> slot;
    if (!chan_receive(this->core(), std::addressof(slot.value))) return std::nullopt;
    return take(slot);
  }
  /// Receives if that needs no waiting: ok with a value, empty, or closed (and drained).
  try_result<T> try_recv() const noexcept {
    raw_slot<T> slot;
    return result(chan_try_receive(this->core(), std::addressof(slot.value)), slot);
  }
  /// As try_recv, with patience. Cancellable.
  try_result<T> recv_for(any_duration patience) const {
    raw_slot<T> slot;
    return result(chan_receive_for(this->core(), std::addressof(slot.value), patience), slot);
  }
  /// Receives until the channel is closed and drained. Each step waits as `recv` does, and throws out of the loop if
  /// cancelled.
  recv_iterator<T> begin() const { return recv_iterator<T>(this->core()); }
  std::default_sentinel_t end() const noexcept { return {}; }

 protected:
  using Base::Base;

 private:
  static try_result<T> result(chan_status status, raw_slot<T>& slot) noexcept {
    if (status != chan_status::ok) return {status, std::nullopt};
    return {status, take(slot)};
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
  bool recv() const { return chan_receive(this->core(), no_value()); }
  /// The same without waiting: ok, empty, or closed (and drained).
  [[nodiscard]] chan_status try_recv() const noexcept { return chan_try_receive(this->core(), no_value()); }
  /// As try_recv, with patience. Cancellable.
  [[nodiscard]] chan_status recv_for(any_duration patience) const {
    return chan_receive_for(this->core(), no_value(), patience);
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
  void send(T&& value) const { chan_send(this->core(), std::addressof(value)); }
  void send(const T& value) const requires std::copy_constructible<T> {
    T copy(value);  // copied before the lock is taken: copying is user code
    chan_send(this->core(), std::addressof(copy));
  }
  /// Sends if that needs no waiting: ok, full or closed.
  [[nodiscard]] chan_status try_send(T&& value) const noexcept {
    return chan_try_send(this->core(), std::addressof(value));
  }
  [[nodiscard]] chan_status try_send(const T& value) const requires std::copy_constructible<T> {
    T copy(value);
    return chan_try_send(this->core(), std::addressof(copy));
  }
  /// As try_send, with patience. Cancellable.
  [[nodiscard]] chan_status send_for(T&& value, any_duration patience) const {
    return chan_send_for(this->core(), std::addressof(value), patience);
  }
  [[nodiscard]] chan_status send_for(const T& value, any_duration patience) const requires std::copy_constructible<T> {
    T copy(value);
    return chan_send_for(this->core(), std::addressof(copy), patience);
  }

 protected:
  using Base::Base;
};

template <class Base>
class sending<Base, void> : public Base {
 public:
  /// Sends a signal; waits while there is no room. Cancellable. Throws channel_closed as the send of a value does.
  void send() const { chan_send(this->core(), no_value()); }
  /// The same without waiting: ok, full or closed.
  [[nodiscard]] chan_status try_send() const noexcept { return chan_try_send(this->core(), no_value()); }
  /// As try_send, with patience. Cancellable.
  [[nodiscard]] chan_status send_for(any_duration patience) const {
    return chan_send_for(this->core(), no_value(), patience);
  }

 protected:
  using Base::Base;
};

/// The right to close.
template <class Base>
class closing : public Base {
 public:
  /// No more sends; receivers drain what is there. Never waits. Throws channel_closed if it is closed already, or nil.
  void close() const { chan_close(this->core()); }

 protected:
  using Base::Base;
};

template <class N>
constexpr std::ptrdiff_t to_capacity(N n) noexcept {
  return std::in_range<std::ptrdiff_t>(n) ? static_cast<std::ptrdiff_t>(n) : std::ptrdiff_t{-1};
}

template <class N>
concept capacity_type = std::integral<N> && !std::same_as<N, bool>;

}  // namespace detail

template <class T>
class recv_chan;
template <class T>
class send_chan;

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
class chan : public detail::closing<detail::sending<detail::receiving<detail::chan_ref<detail::chan_handle>, T>, T>> {
  using base = detail::closing<detail::sending<detail::receiving<detail::chan_ref<detail::chan_handle>, T>, T>>;

 public:
  static_assert(std::is_void_v<T> || std::is_same_v<T, std::remove_cvref_t<T>>,
                "the elements of a channel are values: neither references nor const");
  using value_type = T;

  /// An unbuffered channel.
  chan() : chan(std::ptrdiff_t{0}) {}
  /// A channel with room for `capacity` values; 0 is unbuffered. A negative or absurd capacity throws
  /// std::length_error.
  template <detail::capacity_type N>
  explicit chan(N capacity)
      : base(detail::chan_handle(detail::chan_make(detail::element_ops_of<T>::value, detail::to_capacity(capacity)))) {}
  /// The nil channel.
  explicit chan(std::nullptr_t) noexcept {}

  friend bool operator==(const chan& a, const chan& b) noexcept { return a.core() == b.core(); }
  friend bool operator==(const chan& a, std::nullptr_t) noexcept { return a.core() == nullptr; }

 private:
  friend class recv_chan<T>;
  friend class send_chan<T>;
};

/// recv_chan is the receiving side of a channel: a view, made from a chan<T> by itself. Without one it is nil.
template <class T>
class recv_chan : public detail::receiving<detail::chan_ref<detail::chan_handle>, T> {
  using base = detail::receiving<detail::chan_ref<detail::chan_handle>, T>;

 public:
  using value_type = T;

  recv_chan() noexcept = default;
  explicit recv_chan(std::nullptr_t) noexcept {}
  recv_chan(const chan<T>& whole) noexcept : base(whole.handle_) {}  // NOLINT(google-explicit-constructor): a view
  recv_chan(chan<T>&& whole) noexcept : base(std::move(whole.handle_)) {}  // NOLINT(google-explicit-constructor)
  /// Adopts a handle.
  explicit recv_chan(detail::chan_handle handle) noexcept : base(std::move(handle)) {}

  friend bool operator==(const recv_chan& a, const recv_chan& b) noexcept { return a.core() == b.core(); }
  friend bool operator==(const recv_chan& a, std::nullptr_t) noexcept { return a.core() == nullptr; }
};

/// send_chan is the sending side of a channel, which may also close it: a view, made from a chan<T> by itself. Without
/// one it is nil.
template <class T>
class send_chan : public detail::closing<detail::sending<detail::chan_ref<detail::chan_handle>, T>> {
  using base = detail::closing<detail::sending<detail::chan_ref<detail::chan_handle>, T>>;

 public:
  using value_type = T;

  send_chan() noexcept = default;
  explicit send_chan(std::nullptr_t) noexcept {}
  send_chan(const chan<T>& whole) noexcept : base(whole.handle_) {}  // NOLINT(google-explicit-constructor): a view
  send_chan(chan<T>&& whole) noexcept : base(std::move(whole.handle_)) {}  // NOLINT(google-explicit-constructor)

  friend bool operator==(const send_chan& a, const send_chan& b) noexcept { return a.core() == b.core(); }
  friend bool operator==(const send_chan& a, std::nullptr_t) noexcept { return a.core() == nullptr; }
};

/// sender is an end of a channel that `channel<T>()` made: when the last sender is gone, the channel is closed and its
/// receivers drain it. Copies count; one that is empty (moved from, or default constructed) is a nil channel.
template <class T>
class sender : public detail::sending<detail::chan_ref<detail::chan_end<detail::chan_side::send>>, T> {
  using counted_end = detail::chan_end<detail::chan_side::send>;
  using base = detail::sending<detail::chan_ref<counted_end>, T>;

 public:
  using value_type = T;

  sender() noexcept = default;
  /// Adopts an end that was counted.
  explicit sender(counted_end counted) noexcept : base(std::move(counted)) {}

  friend bool operator==(const sender& a, const sender& b) noexcept { return a.core() == b.core(); }
  friend bool operator==(const sender& a, std::nullptr_t) noexcept { return a.core() == nullptr; }
};

/// receiver is the other end: once the last receiver is gone, `send` throws channel_closed, also where it waits.
template <class T>
class receiver : public detail::receiving<detail::chan_ref<detail::chan_end<detail::chan_side::receive>>, T> {
  using counted_end = detail::chan_end<detail::chan_side::receive>;
  using base = detail::receiving<detail::chan_ref<counted_end>, T>;

 public:
  using value_type = T;

  receiver() noexcept = default;
  /// Adopts an end that was counted.
  explicit receiver(counted_end counted) noexcept : base(std::move(counted)) {}

  friend bool operator==(const receiver& a, const receiver& b) noexcept { return a.core() == b.core(); }
  friend bool operator==(const receiver& a, std::nullptr_t) noexcept { return a.core() == nullptr; }
};

/// channel makes a channel whose ends close it by ownership; throws as the constructor of chan does.
///
/// ```cpp
/// auto [tx, rx] = weft::channel<int>(16);
/// s.go([tx = std::move(tx)] { for (int i = 0; i < 100; ++i) tx.send(i); });  // the end of the closure closes
/// for (int v : rx) use(v);
/// ```
template <class T, detail::capacity_type N = std::ptrdiff_t>
[[nodiscard]] std::pair<sender<T>, receiver<T>> channel(N capacity = 0) {
  detail::chan_handle made(detail::chan_make(detail::element_ops_of<T>::value, detail::to_capacity(capacity)));
  detail::chan_enter(made.get(), detail::chan_side::send);
  detail::chan_enter(made.get(), detail::chan_side::receive);
  sender<T> tx{detail::chan_end<detail::chan_side::send>(made)};
  return {std::move(tx), receiver<T>(detail::chan_end<detail::chan_side::receive>(std::move(made)))};
}

}  // namespace v0
}  // namespace weft
