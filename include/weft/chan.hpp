// SPDX-License-Identifier: Apache-2.0
// Channels: typed, first in first out, between fibers and plain threads alike.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>

#include <weft/detail/chan_handle.hpp>

namespace weft {
inline namespace v0 {

template <class T>
class recv_chan;
template <class T>
class send_chan;

/// chan is a handle to a channel of T; copies are the same channel. All operations but assignment are const and may be
/// called by any fiber or thread.
///
/// Values and waiters are first in, first out; a waiting receiver is handed the value directly. What happened before a
/// send happens before its receive completes; a close happens before a receive that returns because of it. T must be
/// nothrow move constructible and nothrow destructible, and its move constructor and destructor must use no channel and
/// wait for nothing: they run while the channel is locked. `chan<void>` carries signals. `chan<T>(nullptr)` is nil: it
/// is never ready; `c = nullptr` makes it so. A channel is an input range, of unknown size. Handles compare and hash by
/// their channel.
///
/// ```cpp
/// weft::chan<int> c(16);
/// weft::scope s;
/// s.go([=] { for (int i = 0; i < 100; ++i) c.send(i); c.close(); });
/// for (int v : c) use(v);
/// s.join();
/// ```
template <class T>
class chan : public detail::whole_chan<T>, public detail::chan_order<chan<T>> {
  using base = detail::whole_chan<T>;

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
  /// Lets go of the channel, and is nil. (A template, so that `c = {}` means a new channel.)
  template <std::same_as<std::nullptr_t> Nil>
  chan& operator=(Nil) noexcept {
    this->handle_ = {};
    return *this;
  }

 private:
  friend class recv_chan<T>;
  friend class send_chan<T>;
};

/// try_result is what `try_recv` and `recv_for` give: how it went, and the value if it went well. As a condition it is
/// true if there is a value, which `*` and `->` then give.
///
/// ```cpp
/// if (auto next = jobs.recv_for(10ms)) work(*next);
/// ```
template <class T>
struct try_result {
  chan_status status;
  std::optional<T> value;

  explicit operator bool() const noexcept { return value.has_value(); }
  T& operator*() & noexcept { return *value; }
  const T& operator*() const& noexcept { return *value; }
  T&& operator*() && noexcept { return *std::move(value); }
  T* operator->() noexcept { return value.operator->(); }
  const T* operator->() const noexcept { return value.operator->(); }
};

template <class T>
class sender;
template <class T>
class receiver;

/// recv_chan is the receiving side of a channel: a view, made from a chan<T> or a receiver<T> by itself. Without one it
/// is nil, and so after `= nullptr`. It does not count as an end.
template <class T>
class recv_chan : public detail::receiving_view<T>, public detail::chan_order<recv_chan<T>> {
  using base = detail::receiving_view<T>;

 public:
  using value_type = T;

  recv_chan() noexcept = default;
  explicit recv_chan(std::nullptr_t) noexcept {}
  // NOLINTBEGIN(google-explicit-constructor): a view
  recv_chan(const chan<T>& whole) noexcept : base(whole.handle_) {}
  recv_chan(chan<T>&& whole) noexcept : base(std::move(whole.handle_)) {}
  recv_chan(const receiver<T>& end) noexcept : base(end.handle_.uncounted()) {}
  // NOLINTEND(google-explicit-constructor)
  /// Adopts a handle.
  explicit recv_chan(detail::chan_handle handle) noexcept : base(std::move(handle)) {}
  template <std::same_as<std::nullptr_t> Nil>
  recv_chan& operator=(Nil) noexcept {
    this->handle_ = {};
    return *this;
  }
};

/// send_chan is the sending side of a channel, which may also close it: a view, made from a chan<T> or a sender<T> by
/// itself. Without one it is nil, and so after `= nullptr`. It does not count as an end.
template <class T>
class send_chan : public detail::sending_view<T>, public detail::chan_order<send_chan<T>> {
  using base = detail::sending_view<T>;

 public:
  using value_type = T;

  send_chan() noexcept = default;
  explicit send_chan(std::nullptr_t) noexcept {}
  // NOLINTBEGIN(google-explicit-constructor): a view
  send_chan(const chan<T>& whole) noexcept : base(whole.handle_) {}
  send_chan(chan<T>&& whole) noexcept : base(std::move(whole.handle_)) {}
  send_chan(const sender<T>& end) noexcept : base(end.handle_.uncounted()) {}
  // NOLINTEND(google-explicit-constructor)
  template <std::same_as<std::nullptr_t> Nil>
  send_chan& operator=(Nil) noexcept {
    this->handle_ = {};
    return *this;
  }
};

/// sender is an end of a channel that `channel<T>()` made: when the last sender is gone, the channel is closed and its
/// receivers drain it. Copies count; one that is empty (moved from, default constructed, `= nullptr`) is a nil channel.
template <class T>
class sender : public detail::sending<detail::chan_ref<detail::sending_end>, T>, public detail::chan_order<sender<T>> {
  using base = detail::sending<detail::chan_ref<detail::sending_end>, T>;

 public:
  using value_type = T;

  sender() noexcept = default;
  /// Adopts an end that was counted.
  explicit sender(detail::sending_end counted) noexcept : base(std::move(counted)) {}
  template <std::same_as<std::nullptr_t> Nil>
  sender& operator=(Nil) noexcept {
    this->handle_ = {};
    return *this;
  }

 private:
  friend class send_chan<T>;
};

/// receiver is the other end: once the last receiver is gone, `send` throws channel_closed, also where it waits. Views
/// and iterators made from it do not count.
template <class T>
class receiver : public detail::receiving<detail::chan_ref<detail::receiving_end>, T>,
                 public detail::chan_order<receiver<T>> {
  using base = detail::receiving<detail::chan_ref<detail::receiving_end>, T>;

 public:
  using value_type = T;

  receiver() noexcept = default;
  /// Adopts an end that was counted.
  explicit receiver(detail::receiving_end counted) noexcept : base(std::move(counted)) {}
  template <std::same_as<std::nullptr_t> Nil>
  receiver& operator=(Nil) noexcept {
    this->handle_ = {};
    return *this;
  }

 private:
  friend class recv_chan<T>;
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
  sender<T> tx{detail::sending_end(made)};
  return {std::move(tx), receiver<T>(detail::receiving_end(std::move(made)))};
}

}  // namespace v0
}  // namespace weft

template <class T>
struct std::hash<weft::chan<T>> : weft::detail::chan_hash {};
template <class T>
struct std::hash<weft::recv_chan<T>> : weft::detail::chan_hash {};
template <class T>
struct std::hash<weft::send_chan<T>> : weft::detail::chan_hash {};
template <class T>
struct std::hash<weft::sender<T>> : weft::detail::chan_hash {};
template <class T>
struct std::hash<weft::receiver<T>> : weft::detail::chan_hash {};

// A channel's `size` is how much is buffered, not how much will come; its iterators hold it; and a pipeline over a
// handle that counts as no end holds a copy.
template <class T>
inline constexpr bool std::ranges::disable_sized_range<weft::chan<T>> = true;
template <class T>
inline constexpr bool std::ranges::disable_sized_range<weft::recv_chan<T>> = true;
template <class T>
inline constexpr bool std::ranges::disable_sized_range<weft::receiver<T>> = true;
template <class T>
inline constexpr bool std::ranges::enable_borrowed_range<weft::chan<T>> = true;
template <class T>
inline constexpr bool std::ranges::enable_borrowed_range<weft::recv_chan<T>> = true;
template <class T>
inline constexpr bool std::ranges::enable_borrowed_range<weft::receiver<T>> = true;
template <class T>
inline constexpr bool std::ranges::enable_view<weft::chan<T>> = true;
template <class T>
inline constexpr bool std::ranges::enable_view<weft::recv_chan<T>> = true;
