// SPDX-License-Identifier: Apache-2.0
// Unix-domain sockets: streams between processes of one machine.
//
// A path names a socket file; "@name" is a name of the abstract namespace, which has no file and goes with its socket
// (a file whose name begins with @ is "./@name"). Such a name may contain zero bytes; all of them count.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/detail/buffer.hpp>
#include <weft/detail/export.hpp>
#include <weft/net/byte_stream.hpp>
#include <weft/net/fd.hpp>
#include <weft/net/from_fd.hpp>

namespace weft {
namespace rt {
struct socket_file;
}  // namespace rt

inline namespace v0 {

namespace net {

/// peer_credentials is who stands at the other end, as the kernel saw it when the connection was made.
struct peer_credentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};

/// received_fds is what `unix_stream::recv_fds` gives.
struct received_fds {
  std::size_t bytes = 0;  ///< how many are in the buffer; 0: the peer has finished sending
  std::vector<fd> fds;    ///< the descriptors that came with them, in the order in which they were passed
};

/// unix_stream is a connection. Its destructor closes it. Descriptors that a peer passes along are taken by `recv_fds`;
/// what reads otherwise closes them.
///
/// ```cpp
/// auto [ours, theirs] = weft::net::pair();
/// ours.send_fds(std::string_view("x"), std::array{listener.native_handle()});
/// std::array<char, 1> data;
/// auto [bytes, fds] = theirs.recv_fds(data);
/// ```
class WEFT_EXPORT unix_stream : public byte_stream {
 public:
  /// No connection: every operation on it fails with std::errc::bad_file_descriptor.
  unix_stream() noexcept = default;

  /// Takes over a connection (net::from_fd says what that means).
  unix_stream(from_fd_t, int number) { adopt(number, nullptr); }
  unix_stream(from_fd_t, int number, std::error_code& error) { adopt(number, &error); }

  /// Tells the peer that nothing more will come: it reads an end. Reading goes on. Never waits.
  void shutdown_write();
  void shutdown_write(std::error_code& error);

  /// The process that connected, or that listened (SO_PEERCRED). Never waits.
  [[nodiscard]] peer_credentials peer() const;
  [[nodiscard]] peer_credentials peer(std::error_code& error) const;

  /// The most descriptors that can be passed at a time.
  static constexpr std::size_t most_fds = 253;

  /// Passes duplicates of `fds` along with the first byte of `data`, of which there must be one, and writes all of it;
  /// nobody else writes in between. Returns how many bytes were written, which is less only with an error. Too many
  /// descriptors, or no data: std::errc::invalid_argument. The caller keeps its own ones.
  std::size_t send_fds(std::span<const std::byte> data, std::span<const int> fds);
  std::size_t send_fds(std::span<const std::byte> data, std::span<const int> fds, std::error_code& error);
  std::size_t send_fds(detail::const_char_buffer data, std::span<const int> fds) { return send_fds(data.bytes(), fds); }
  std::size_t send_fds(detail::const_char_buffer data, std::span<const int> fds, std::error_code& error) {
    return send_fds(data.bytes(), fds, error);
  }

  /// As `read_some`, and takes the descriptors that were passed along with what it reads: close-on-exec, and as `fd`
  /// takes a number over. One read gives those of one `send_fds`, and ends with it. If not all of them can be had
  /// (std::errc::too_many_files_open, or as `fd` says), those that came are closed and what was read is lost. An empty
  /// buffer is std::errc::invalid_argument.
  received_fds recv_fds(std::span<std::byte> to) { return received(to, nullptr); }
  received_fds recv_fds(std::span<std::byte> to, std::error_code& error) { return received(to, &error); }
  received_fds recv_fds(detail::char_buffer to) { return received(to.bytes(), nullptr); }
  received_fds recv_fds(detail::char_buffer to, std::error_code& error) { return received(to.bytes(), &error); }

 private:
  friend struct rt::net_access;
  explicit unix_stream(rt::descriptor* adopted) noexcept : byte_stream(adopted) {}
  void adopt(int number, std::error_code* error);

  /// `take(list, fd)` for each descriptor: the vector is the program's alone, so it may be built with checks of its own.
  using taker = void (*)(void* list, fd&& one);
  std::size_t receive(std::span<std::byte> to, taker take, void* list, std::error_code* error);
  received_fds received(std::span<std::byte> to, std::error_code* error) {
    received_fds result;
    const taker append = [](void* list, fd&& one) { static_cast<std::vector<fd>*>(list)->push_back(std::move(one)); };
    result.bytes = receive(to, append, &result.fds, error);
    return result;
  }
};

/// unix_listener takes in connections. Its destructor closes it.
class WEFT_EXPORT unix_listener : public detail::net_object {
 public:
  unix_listener() noexcept = default;

  /// Takes over a socket that listens (net::from_fd says what that means). Its file is left alone.
  unix_listener(from_fd_t, int number) { adopt(number, nullptr); }
  unix_listener(from_fd_t, int number, std::error_code& error) { adopt(number, &error); }
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

  /// As every release. The socket file stays, and is the caller's to remove.
  [[nodiscard]] int release() noexcept;

  /// What it was opened with; of one that was taken over the name of the socket, "@name" if that is abstract. Never
  /// waits.
  [[nodiscard]] std::string path() const;

 private:
  friend struct rt::net_access;
  unix_listener(rt::descriptor* adopted, std::shared_ptr<rt::socket_file> file) noexcept
      : net_object(adopted), file_(std::move(file)) {}
  void adopt(int number, std::error_code* error);

  std::shared_ptr<rt::socket_file> file_;
};

/// unix_listen_options is what `listen_unix` takes beside the path.
struct unix_listen_options {
  /// Who may connect: the mode of the socket file, whatever the umask is (0600, 0660, ...). At no time others may. 0:
  /// what the umask leaves of 0777. An abstract name has none: std::errc::invalid_argument.
  mode_t mode = 0;

  /// A socket file that nobody listens at (a server that was killed has left it) is removed first. One where somebody
  /// listens, or a file of another kind, is std::errc::address_in_use as without. Of several that start at once one gets
  /// the path: the others wait, cancellably, until it listens.
  bool replace_stale = false;
};

/// listen_unix makes a socket file and listens there. A file that is there already is std::errc::address_in_use; see
/// `unix_listen_options::replace_stale` for what a dead server left behind. A path of more than 107 bytes is
/// std::errc::filename_too_long. A relative path is of the working directory at this time, also for the removal of the
/// file. Without a runtime: std::logic_error.
WEFT_EXPORT unix_listener listen_unix(std::string_view path, const unix_listen_options& options = {});
WEFT_EXPORT unix_listener listen_unix(std::string_view path, const unix_listen_options& options,
                                      std::error_code& error);
inline unix_listener listen_unix(std::string_view path, std::error_code& error) { return listen_unix(path, {}, error); }

/// connect_unix waits until a connection stands, also while the server's queue is full. Nobody listening there any
/// more: std::errc::connection_refused. Without a runtime: std::logic_error.
WEFT_EXPORT unix_stream connect_unix(std::string_view path);
WEFT_EXPORT unix_stream connect_unix(std::string_view path, std::error_code& error);

/// pair gives two streams that are connected with each other, such as for a child process. Never waits. Without a
/// runtime: std::logic_error.
WEFT_EXPORT std::pair<unix_stream, unix_stream> pair();
WEFT_EXPORT std::pair<unix_stream, unix_stream> pair(std::error_code& error);

}  // namespace net
}  // namespace v0
}  // namespace weft
