// SPDX-License-Identifier: Apache-2.0
// Unix-domain streams and listeners. A short read says nothing about them: the kernel ends one where descriptors were
// passed along.
//
// A listener's file is removed before its socket is closed: the other way round a new server might have bound the path
// in between. It is told from another's file by its inode.
#include <weft/net/unix.hpp>

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include <weft/detail/atomic.hpp>

#include "netpoll/accept.hpp"
#include "netpoll/access.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/os.hpp"
#include "netpoll/side.hpp"

namespace weft {
namespace rt {

// The file of a listener; none, if its name is abstract.
struct socket_file {
  explicit socket_file(std::string_view where) : path(where) {}
  ~socket_file() { remove(); }
  socket_file(const socket_file&) = delete;
  socket_file& operator=(const socket_file&) = delete;

  /// The file was made just now.
  void made() noexcept {
    struct stat now;
    if (path.front() == '@' || lstat(path.c_str(), &now) != 0) return;
    device = now.st_dev;
    inode = now.st_ino;
    owner = getpid();
    there.store(true, std::memory_order_relaxed);
  }
  void remove() noexcept {
    if (!there.exchange(false, std::memory_order_relaxed) || owner != getpid()) return;
    struct stat now;
    if (lstat(path.c_str(), &now) == 0 && now.st_dev == device && now.st_ino == inode) unlink(path.c_str());
  }

  const std::string path;
  dev_t device = 0;
  ino_t inode = 0;
  pid_t owner = 0;
  detail::atomic<bool> there{false};  // relaxed: only one exchange wins; the rest is written before it is published
};

}  // namespace rt

inline namespace v0 {

using namespace rt;

namespace {

struct unix_address {
  sockaddr_un address{};
  socklen_t length = 0;
  int error = 0;
  std::string detail;  ///< completes the message

  explicit unix_address(std::string_view path) {
    constexpr std::size_t most = sizeof address.sun_path - 1;
    const bool abstract = path.starts_with('@');
    if (path.empty()) {
      error = EINVAL;
      detail = "the path is empty";
    } else if (path.size() > most) {
      error = ENAMETOOLONG;
      detail = "the path has " + std::to_string(path.size()) + " bytes; the kernel takes " + std::to_string(most) +
               ": use a shorter one, or one relative to the working directory";
    } else if (!abstract && path.find('\0') != path.npos) {
      error = EINVAL;
      detail = "there is a zero byte in the path";
    } else {
      address.sun_family = AF_UNIX;
      std::memcpy(address.sun_path, path.data(), path.size());
      if (abstract) address.sun_path[0] = '\0';
      length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
    }
  }
  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&address); }
};

int bound_socket(const unix_address& at, socket_file& file, failure& why) noexcept {
  const int fd = socket_now(AF_UNIX, SOCK_STREAM);
  if (fd < 0) {
    why.error = -fd;
    return -1;
  }
  int result = bind_now(fd, at.get(), at.length);
  if (result == 0) {
    file.made();
    result = listen_now(fd, 0);
  }
  if (result == 0) return fd;
  os::close(fd);
  why.error = -result;
  return -1;
}

/// A full queue is EAGAIN, and no event says that there is room again: so by the clock.
int connected_socket(const unix_address& to, failure& why) noexcept {
  constexpr nanoseconds_t first_pause = 200'000;
  constexpr nanoseconds_t longest_pause = 50'000'000;
  why = cancelled_at_entry();
  if (why) return -1;
  const int fd = socket_now(AF_UNIX, SOCK_STREAM);
  if (fd < 0) {
    why.error = -fd;
    return -1;
  }
  for (nanoseconds_t pause = first_pause;; pause = std::min(2 * pause, longest_pause)) {
    const int result = connect_now(fd, to.get(), to.length);
    if (result == 0) return fd;
    if (result == -EINTR) continue;
    if (result != -EAGAIN) {
      why.error = -result;
      break;
    }
    const wait_outcome how = wait_alone<net_traits>({wait_reason::io_wait, true, steady_now() + pause});
    if (how == wait_outcome::timed_out) continue;
    why = failure_of(how);
    break;
  }
  os::close(fd);
  return -1;
}

descriptor* unix_descriptor(int fd, failure& why) noexcept {
  descriptor* const d = fd >= 0 ? open_descriptor(fd, false, why.error) : nullptr;
  if (d != nullptr) d->kind = file_kind::unix_domain;
  return d;
}

std::string said_of(std::string_view path, const std::string& detail) {
  return '"' + std::string(path) + '"' + (detail.empty() ? "" : " (" + detail + ")");
}

}  // namespace

namespace net {

void unix_stream::shutdown_write(std::error_code& error) {
  error = to_code(while_open(d_, [](int fd) noexcept { return shutdown_now(fd, SHUT_WR); }));
}

void unix_stream::shutdown_write() {
  std::error_code error;
  shutdown_write(error);
  if (error) raise({error.value()}, "shutdown of a Unix-domain socket");
}

static std::optional<unix_stream> stream_of(const accepted& taken) noexcept {
  if (taken.d == nullptr) return std::nullopt;
  taken.d->kind = file_kind::unix_domain;
  return net_access::unix_end(taken.d);
}

std::optional<unix_stream> unix_listener::accept(std::error_code& error) {
  const accepted taken = accept_one(d_, false);
  error = to_code(taken.why);
  return stream_of(taken);
}

std::optional<unix_stream> unix_listener::accept() {
  const accepted taken = accept_one(d_, false);
  if (taken.why && !taken.closed) raise(taken.why, "accept on " + said_of(path(), ""));
  return stream_of(taken);
}

void unix_listener::close() noexcept {
  if (file_ != nullptr) file_->remove();
  net_object::close();
}

std::string unix_listener::path() const { return file_ != nullptr ? file_->path : std::string(); }

static unix_listener listen_at(std::string_view path, failure& why, std::string& detail) {
  need_runtime("listen_unix");
  unix_address at(path);
  why.error = at.error;
  detail = std::move(at.detail);
  if (why) return {};
  auto file = std::make_shared<socket_file>(path);
  if (descriptor* const d = unix_descriptor(bound_socket(at, *file, why), why))
    return net_access::unix_listening(d, std::move(file));
  if (why.error == EADDRINUSE && path.front() != '@')
    detail = "the file is there already; if no server uses it any more, remove it first";
  return {};
}

unix_listener listen_unix(std::string_view path, std::error_code& error) {
  failure why;
  std::string detail;
  unix_listener result = listen_at(path, why, detail);
  error = to_code(why);
  return result;
}

unix_listener listen_unix(std::string_view path) {
  failure why;
  std::string detail;
  unix_listener result = listen_at(path, why, detail);
  if (why) raise(why, "listen_unix on " + said_of(path, detail));
  return result;
}

static unix_stream connect_at(std::string_view path, failure& why, std::string& detail) {
  need_runtime("connect_unix");
  unix_address to(path);
  why.error = to.error;
  detail = std::move(to.detail);
  if (why) return {};
  if (descriptor* const d = unix_descriptor(connected_socket(to, why), why)) return net_access::unix_end(d);
  if (why.error == ECONNREFUSED) detail = "nobody listens there";
  return {};
}

unix_stream connect_unix(std::string_view path, std::error_code& error) {
  failure why;
  std::string detail;
  unix_stream result = connect_at(path, why, detail);
  error = to_code(why);
  return result;
}

unix_stream connect_unix(std::string_view path) {
  failure why;
  std::string detail;
  unix_stream result = connect_at(path, why, detail);
  if (why) raise(why, "connect_unix to " + said_of(path, detail));
  return result;
}

}  // namespace net
}  // namespace v0
}  // namespace weft
