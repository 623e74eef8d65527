// SPDX-License-Identifier: Apache-2.0
// What all objects of weft/net.hpp share: the descriptor behind them.
#pragma once

#include <chrono>
#include <cstddef>
#include <system_error>
#include <type_traits>
#include <utility>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/export.hpp>
#include <weft/time.hpp>

namespace weft {
namespace rt {
struct descriptor;
struct net_access;
}  // namespace rt

inline namespace v0 {

namespace detail {

/// A descriptor and what every object that owns one can do: be closed, and be given deadlines. Moving it is not
/// thread-safe; everything else is.
class WEFT_EXPORT net_object {
 public:
  /// Whether there is a descriptor: false after default construction and after having been moved from. True once
  /// closed, too.
  explicit operator bool() const noexcept { return d_ != nullptr; }

  /// Wakes all who wait on the object, fails what is begun later, both with std::errc::operation_canceled, and returns
  /// when those inside have left: waits for them, shielded from cancellation. A second call does nothing.
  void close() noexcept;

  /// What waits when `when` has come, and what is begun later, fails with std::errc::timed_out, even if it could go on.
  /// Holds until it is set anew, also for whoever waits already; `clock::time_point::max()` clears it. Never waits;
  /// nothing happens on a closed object.
  void set_deadline(clock::time_point when) noexcept;
  void set_read_deadline(clock::time_point when) noexcept;
  void set_write_deadline(clock::time_point when) noexcept;

  /// Gives each operation that begins from here on `each`, counted from its beginning: past that it fails with
  /// std::errc::timed_out, as by a deadline; the nearer of the two counts. `read_exactly`, `write_all` and `writev` are one
  /// operation each, so is an `accept` and a datagram; a wait for one's turn is part of it; a copy reads and writes again
  /// and again. 0 or less clears it; what is not a number throws std::invalid_argument. Never waits; nothing happens on
  /// a closed object.
  void set_timeout(any_duration each) noexcept;

  /// setsockopt(2) and getsockopt(2), for what has no setter of its own; what is no socket is
  /// std::errc::not_a_socket. `T` is what the option is: usually an int. Never waits.
  template <class T>
  requires std::is_trivially_copyable_v<T>
  void set_option(int level, int name, const T& value) { set_option_bytes(level, name, &value, sizeof value); }
  template <class T>
  requires std::is_trivially_copyable_v<T>
  void set_option(int level, int name, const T& value, std::error_code& error) {
    set_option_bytes(level, name, &value, sizeof value, error);
  }
  template <class T>
  requires std::is_trivially_copyable_v<T>
  [[nodiscard]] T get_option(int level, int name) const {
    T value{};
    option_bytes(level, name, &value, sizeof value);
    return value;
  }
  template <class T>
  requires std::is_trivially_copyable_v<T>
  [[nodiscard]] T get_option(int level, int name, std::error_code& error) const {
    T value{};
    option_bytes(level, name, &value, sizeof value, error);
    return value;
  }

  /// Gives the descriptor back to the caller, open; wakes and fails all who wait, as `close` does, and returns when they
  /// have left. The object is as closed from then on. The descriptor stays non-blocking (what net::fd has taken over is
  /// as it was found). -1 if there is none, or it is closed.
  [[nodiscard]] int release() noexcept;

  /// The file descriptor, which stays the object's; -1 if there is none, or it is closed. It is non-blocking (that of
  /// a net::fd is as it was found) and registered with the runtime's poller, and stands for this object only until
  /// `close`. Who makes the kernel carry
  /// the bytes in another way (TLS in the kernel) takes it just before, and not once and for all.
  [[nodiscard]] int native_handle() noexcept;

 protected:
  net_object() noexcept = default;
  explicit net_object(rt::descriptor* adopted) noexcept : d_(adopted) {}
  net_object(net_object&& other) noexcept : d_(std::exchange(other.d_, nullptr)) {}
  net_object& operator=(net_object&& other) noexcept {
    if (this != &other) {
      reset();
      d_ = std::exchange(other.d_, nullptr);
    }
    return *this;
  }
  ~net_object() { reset(); }

  rt::descriptor* d_ = nullptr;

 private:
  friend struct rt::net_access;
  void reset() noexcept {
    if (d_ != nullptr) give_back();
  }
  void give_back() noexcept;
  void set_option_bytes(int level, int name, const void* value, std::size_t size);
  void set_option_bytes(int level, int name, const void* value, std::size_t size, std::error_code& error);
  void option_bytes(int level, int name, void* value, std::size_t size) const;
  void option_bytes(int level, int name, void* value, std::size_t size, std::error_code& error) const;
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
