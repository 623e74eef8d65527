// SPDX-License-Identifier: Apache-2.0
// Unix-domain sockets: streams between processes of one machine.
//
// A path names a socket file; "@name" is a name of the abstract namespace, which has no file and goes with its socket
// (a file whose name begins with @ is "./@name").
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <weft/detail/export.hpp>
#include <weft/net/byte_stream.hpp>

namespace weft {
namespace rt {
struct socket_file;
}  // namespace rt

inline namespace v0 {

namespace net {

/// unix_stream is a connection. Its destructor closes it. Descriptors that a peer passes along (SCM_RIGHTS) are not
/// received: use recvmsg on `native_handle` for that.
class WEFT_EXPORT unix_stream : public byte_stream {
 public:
  /// No connection: every operation on it fails with std::errc::bad_file_descriptor.
  unix_stream() noexcept = default;

  /// Tells the peer that nothing more will come: it reads an end. Reading goes on. Never waits.
  void shutdown_write();
  void shutdown_write(std::error_code& error);

 private:
  friend struct rt::net_access;
  explicit unix_stream(rt::descriptor* adopted) noexcept : byte_stream(adopted) {}
};

/// unix_listener takes in connections. Its destructor closes it.
class WEFT_EXPORT unix_listener : public detail::net_object {
 public:
  unix_listener() noexcept = default;
  unix_listener(unix_listener&&) noexcept = default;
  unix_listener& operator=(unix_listener&& other) noexcept {
    if (this == &other) return *this;
    file_ = std::move(other.file_);  // the file of the old one goes before its socket does
    net_object::operator=(std::move(other));
    return *this;
  }

  /// Waits for a connection, as tcp_listener::accept does. nullopt: the listener is closed.
  std::optional<unix_stream> accept();
  std::optional<unix_stream> accept(std::error_code& error);

  /// As every close, and removes the socket file first, if it is still the one that this listener has made (and the
  /// process is the one that has made it: a child after fork leaves it alone).
  void close() noexcept;

  /// What it was opened with. Never waits.
  [[nodiscard]] std::string path() const;

 private:
  friend struct rt::net_access;
  unix_listener(rt::descriptor* adopted, std::shared_ptr<rt::socket_file> file) noexcept
      : net_object(adopted), file_(std::move(file)) {}

  std::shared_ptr<rt::socket_file> file_;
};

/// listen_unix makes a socket file and listens there. A file that is there already is std::errc::address_in_use, also
/// one that a dead server left behind: remove it first. A path of more than 107 bytes is std::errc::filename_too_long.
/// Without a runtime: std::logic_error.
WEFT_EXPORT unix_listener listen_unix(std::string_view path);
WEFT_EXPORT unix_listener listen_unix(std::string_view path, std::error_code& error);

/// connect_unix waits until a connection stands, also while the server's queue is full. Nobody listening there any
/// more: std::errc::connection_refused. Without a runtime: std::logic_error.
WEFT_EXPORT unix_stream connect_unix(std::string_view path);
WEFT_EXPORT unix_stream connect_unix(std::string_view path, std::error_code& error);

}  // namespace net
}  // namespace v0
}  // namespace weft
