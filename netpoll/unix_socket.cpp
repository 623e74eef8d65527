// SPDX-License-Identifier: Apache-2.0
// Unix-domain streams and listeners. A short read says nothing about them: the kernel ends one where descriptors were
// passed along.
//
// A listener's file is removed before its socket is closed: the other way round a new server might have bound the path
// in between. It is told from another's file by its inode, and found by its absolute path, since the working directory
// may be another by then.
//
// A dead file is replaced under a lock (flock) of its directory, which is held until the new socket listens. Otherwise
// two servers that start at once might both find it dead, and the second would remove the file of the first, which
// nobody could reach from then on.
//
// No errno is read in code that parks (netpoll/calls.hpp): so the calls on files stand in functions of their own.
#include <weft/net/unix.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string>

#include <weft/detail/atomic.hpp>

#include "netpoll/accept.hpp"
#include "netpoll/access.hpp"
#include "netpoll/address.hpp"
#include "netpoll/adopt.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/raw_socket.hpp"
#include "netpoll/side.hpp"

namespace weft {
namespace rt {

namespace {

[[gnu::noinline]] int or_errno_of(int result) noexcept { return result < 0 ? -errno : result; }
[[gnu::noinline]] int lstat_now(const std::string& path, struct stat& out) noexcept {
  return or_errno_of(lstat(path.c_str(), &out));
}
[[gnu::noinline]] int unlink_now(const std::string& path) noexcept { return or_errno_of(unlink(path.c_str())); }
[[gnu::noinline]] int chmod_now(const std::string& path, mode_t mode) noexcept {
  return or_errno_of(chmod(path.c_str(), mode));
}
[[gnu::noinline]] int fchmod_now(int fd, mode_t mode) noexcept { return or_errno_of(fchmod(fd, mode)); }
[[gnu::noinline]] int open_directory_now(const std::string& path) noexcept {
  return or_errno_of(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}
[[gnu::noinline]] int try_lock_now(int fd) noexcept { return or_errno_of(flock(fd, LOCK_EX | LOCK_NB)); }

/// The length in `length`.
[[gnu::noinline]] int local_name_now(int fd, sockaddr_un& name, socklen_t& length) noexcept {
  return or_errno_of(os::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length));
}

constexpr mode_t mode_bits = 07777;

/// As paths are written here: "@name" if it is abstract. Empty if the socket has none.
std::string name_of_socket(int fd) {
  constexpr std::size_t before_the_path = offsetof(sockaddr_un, sun_path);
  sockaddr_un name{};
  socklen_t length = sizeof name;
  if (local_name_now(fd, name, length) < 0 || length <= before_the_path) return {};
  const std::size_t size = std::min<std::size_t>(length - before_the_path, sizeof name.sun_path);
  if (name.sun_path[0] != '\0') return {name.sun_path, strnlen(name.sun_path, size)};
  std::string result(name.sun_path, size);
  result.front() = '@';
  return result;
}

}  // namespace

// The file of a listener; none, if its name is abstract.
struct socket_file {
  explicit socket_file(std::string_view where) : path(where) {
    if (!is_file()) return;
    std::error_code gone;  // the working directory is
    const std::filesystem::path whole = std::filesystem::absolute(path, gone);
    absolute = gone ? path : whole.string();
  }
  ~socket_file() { remove(); }
  socket_file(const socket_file&) = delete;
  socket_file& operator=(const socket_file&) = delete;

  bool is_file() const noexcept { return !path.starts_with('@'); }
  std::string directory() const { return std::filesystem::path(absolute).parent_path().string(); }

  /// The file was made just now. Gives it `mode`, if that is not 0: the umask has taken of it. Returns 0 or minus an
  /// errno.
  int made(mode_t mode) noexcept {
    struct stat now;
    if (!is_file() || lstat_now(absolute, now) != 0) return 0;
    device = now.st_dev;
    inode = now.st_ino;
    owner = getpid();
    there.store(true, std::memory_order_relaxed);
    return mode != 0 && (now.st_mode & mode_bits) != mode ? chmod_now(absolute, mode) : 0;
  }
  void remove() noexcept {
    if (!there.exchange(false, std::memory_order_relaxed) || owner != getpid()) return;
    struct stat now;
    if (lstat_now(absolute, now) == 0 && now.st_dev == device && now.st_ino == inode) unlink_now(absolute);
  }

  /// From here on it is somebody else's.
  void leave() noexcept { there.store(false, std::memory_order_relaxed); }

  const std::string path;  ///< as the program calls it
  std::string absolute;
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
    } else if (path == "@") {
      error = EINVAL;
      detail = "no name follows the @";
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

/// Waits by the clock, each time twice as long. What waits so has no event that it could wait for.
class pauses {
 public:
  /// Returns false, and sets `why`, if the fiber is cancelled.
  bool wait(failure& why) noexcept {
    const wait_outcome how = wait_alone<net_traits>({wait_reason::io_wait, true, steady_now() + next_});
    next_ = std::min(2 * next_, longest);
    if (how != wait_outcome::timed_out) why = failure_of(how);
    return !why;
  }

 private:
  static constexpr nanoseconds_t longest = 50'000'000;
  nanoseconds_t next_ = 200'000;
};

/// Held from the look at a socket file until another one listens in its place.
class directory_lock {
 public:
  /// A directory that cannot be read cannot be locked: the look is made without.
  directory_lock(const std::string& directory, failure& why) noexcept : fd_(open_directory_now(directory)) {
    if (fd_ < 0) return;
    pauses between;
    while (try_lock_now(fd_) == -EWOULDBLOCK && between.wait(why)) {
    }
  }
  ~directory_lock() {
    if (fd_ >= 0) ::close(fd_);
  }
  directory_lock(const directory_lock&) = delete;
  directory_lock& operator=(const directory_lock&) = delete;

 private:
  int fd_;
};

/// Removes the file at the path if it is a socket that nobody listens at. Returns 0 if there is none any more, minus an
/// errno if there is; `detail` says what.
int remove_stale(const unix_address& at, const socket_file& file, std::string& detail) {
  struct stat before, now;
  const int there = lstat_now(file.absolute, before);
  if (there != 0) return there == -ENOENT ? 0 : there;
  if (!S_ISSOCK(before.st_mode)) {
    detail = "what is there is no socket";
    return -EADDRINUSE;
  }
  failure why;
  const raw_socket probe(AF_UNIX, SOCK_STREAM, why);
  if (why) return -why.error;
  int result;
  do result = connect_now(probe.fd(), at.get(), at.length);
  while (result == -EINTR);
  if (result == -ENOENT) return 0;
  if (result != -ECONNREFUSED) {
    detail = "somebody listens there";
    return -EADDRINUSE;
  }
  if (lstat_now(file.absolute, now) != 0) return 0;
  if (now.st_dev != before.st_dev || now.st_ino != before.st_ino) {
    detail = "somebody else has just made the file";
    return -EADDRINUSE;
  }
  return unlink_now(file.absolute);
}

descriptor* listen_on(const unix_address& at, const net::unix_listen_options& options, socket_file& file, failure& why,
                      std::string& detail) {
  raw_socket s(AF_UNIX, SOCK_STREAM, why);
  if (why) return nullptr;
  // The file gets the mode of the socket, less the umask: so at no time more than what was asked for.
  if (options.mode != 0 && !s.succeeded(fchmod_now(s.fd(), options.mode), why)) return nullptr;
  std::optional<directory_lock> alone;
  if (options.replace_stale && file.is_file()) alone.emplace(file.directory(), why);
  if (why) return nullptr;
  int bound = bind_now(s.fd(), at.get(), at.length);
  if (bound == -EADDRINUSE && file.is_file()) {
    if (!alone) {
      detail = "the file is there already; if no server uses it any more, remove it first, or ask for replace_stale";
    } else {
      bound = remove_stale(at, file, detail);
      if (bound == 0) bound = bind_now(s.fd(), at.get(), at.length);
    }
  }
  if (!s.succeeded(bound, why) || !s.succeeded(file.made(options.mode), why) ||
      !s.succeeded(listen_now(s.fd(), 0), why))
    return nullptr;
  return s.open(file_kind::unix_domain, false, why);
}

/// A full queue is EAGAIN, and no event says that there is room again: so by the clock.
descriptor* connect_to(const unix_address& to, failure& why) noexcept {
  why = cancelled_at_entry();
  if (why) return nullptr;
  raw_socket s(AF_UNIX, SOCK_STREAM, why);
  if (why) return nullptr;
  for (pauses between;;) {
    const int result = connect_now(s.fd(), to.get(), to.length);
    if (result == 0) return s.open(file_kind::unix_domain, false, why);
    if (result == -EINTR || (result == -EAGAIN && between.wait(why))) continue;
    if (!why) why.error = -result;
    return nullptr;
  }
}

std::size_t send_passing(descriptor* d, std::span<const std::byte> data, std::span<const int> passed,
                         failure& why) noexcept {
  if (data.empty() || passed.size() > most_passed) {
    why.error = EINVAL;
    return 0;
  }
  held_side side(d, direction::write, why);
  std::size_t sent = 0;
  while (side && sent < data.size()) {
    const std::span<const std::byte> rest = data.subspan(sent);
    const ssize_t n = sent == 0 ? send_passing_now(side.fd(), rest.data(), rest.size(), passed.data(), passed.size())
                                : send_now(side.fd(), rest.data(), rest.size());
    if (n >= 0)
      sent += static_cast<std::size_t>(n);
    else if (!side.again(n, why))
      break;
  }
  return sent;
}

/// Descriptors that came, and that nobody owns yet.
struct passed_numbers {
  std::array<int, most_passed> numbers;
  std::size_t count = 0, taken = 0;

  passed_numbers() noexcept = default;
  ~passed_numbers() {
    while (taken < count) os::close(take());
  }
  passed_numbers(const passed_numbers&) = delete;
  passed_numbers& operator=(const passed_numbers&) = delete;
  int take() noexcept { return numbers[taken++]; }
};

std::size_t receive_passed(descriptor* d, std::span<std::byte> to, passed_numbers& passed, failure& why) noexcept {
  if (to.empty()) {
    why.error = EINVAL;
    return 0;
  }
  held_side side(d, direction::read, why);
  while (side) {
    bool lost = false;
    const ssize_t n = recv_passing_now(side.fd(), to.data(), to.size(), passed.numbers.data(), passed.count, lost);
    if (lost) why.error = EMFILE;
    if (n >= 0) return static_cast<std::size_t>(n);
    if (!side.again(n, why)) break;
  }
  return 0;
}

/// Takes `fd` over. Returns nullptr if that fails.
descriptor* unix_descriptor(int fd, failure& why) noexcept {
  descriptor* const d = open_descriptor(fd, false, why.error);
  if (d != nullptr) d->kind = file_kind::unix_domain;
  return d;
}

std::string said_of(std::string_view path, const std::string& detail) {
  return quoted(path) + (detail.empty() ? "" : " (" + detail + ")");
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

peer_credentials unix_stream::peer(std::error_code& error) const {
  ucred who{};
  error = to_code(while_open(
      d_, [&who](int fd) noexcept { return get_option_now(fd, SOL_SOCKET, SO_PEERCRED, &who, sizeof who); }));
  return error ? peer_credentials{} : peer_credentials{who.pid, who.uid, who.gid};
}

peer_credentials unix_stream::peer() const {
  std::error_code error;
  const peer_credentials who = peer(error);
  if (error) raise({error.value()}, "the peer of a Unix-domain socket");
  return who;
}

static_assert(unix_stream::most_fds == most_passed);

std::size_t unix_stream::send_fds(std::span<const std::byte> data, std::span<const int> fds, std::error_code& error) {
  return or_code(error, [&](failure& why) { return send_passing(d_, data, fds, why); });
}

std::size_t unix_stream::send_fds(std::span<const std::byte> data, std::span<const int> fds) {
  return or_throw(
      [&](const failure& why) {
        raise(why, "send_fds of " + std::to_string(fds.size()) + " descriptors with " + std::to_string(data.size()) +
                       " bytes (expected at most " + std::to_string(most_fds) + ", and a byte to go with them)");
      },
      [&](failure& why) { return send_passing(d_, data, fds, why); });
}

std::size_t unix_stream::receive(std::span<std::byte> to, taker take, void* list, std::error_code* error) {
  failure why;
  passed_numbers passed;
  const std::size_t bytes = receive_passed(d_, to, passed, why);
  std::array<fd, most_passed> all;  // before any is given out: all of them or none
  for (const std::size_t count = passed.count; !why && passed.taken < count;) {
    std::error_code refused;
    fd& one = all[passed.taken];
    one = fd(passed.numbers[passed.taken], refused);
    if (refused)
      why.error = refused.value();
    else
      passed.take();
  }
  if (error != nullptr) *error = to_code(why);
  if (why && error == nullptr)
    raise(why, "recv_fds into " + std::to_string(to.size()) + " bytes, with " + std::to_string(passed.count) +
                   " descriptors");
  if (why) return 0;
  for (std::size_t i = 0; i < passed.count; ++i) take(list, std::move(all[i]));
  return bytes;
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

int unix_listener::release() noexcept {
  if (file_ != nullptr) file_->leave();
  return net_object::release();
}

void unix_listener::adopt(int number, std::error_code* error) {
  auto file = std::make_shared<socket_file>(name_of_socket(number));  // what may throw comes first
  d_ = adopt_socket(number, socket_role::unix_listener, error).d;
  if (d_ != nullptr) file_ = std::move(file);
}

std::string unix_listener::path() const { return file_ != nullptr ? file_->path : std::string(); }

static unix_listener listen_at(std::string_view path, const unix_listen_options& options, failure& why,
                               std::string& detail) {
  need_runtime("listen_unix");
  unix_address at(path);
  why.error = at.error;
  detail = std::move(at.detail);
  if (why) return {};
  if (options.mode != 0 && (path.starts_with('@') || options.mode > mode_bits)) {
    why.error = EINVAL;
    detail = path.starts_with('@') ? "an abstract name has no mode" : "a mode is 0 to 07777";
    return {};
  }
  auto file = std::make_shared<socket_file>(path);
  if (descriptor* const d = listen_on(at, options, *file, why, detail))
    return net_access::unix_listening(d, std::move(file));
  return {};
}

unix_listener listen_unix(std::string_view path, const unix_listen_options& options, std::error_code& error) {
  failure why;
  std::string detail;
  unix_listener result = listen_at(path, options, why, detail);
  error = to_code(why);
  return result;
}

unix_listener listen_unix(std::string_view path, const unix_listen_options& options) {
  failure why;
  std::string detail;
  unix_listener result = listen_at(path, options, why, detail);
  if (why) raise(why, "listen_unix on " + said_of(path, detail));
  return result;
}

static unix_stream connect_at(std::string_view path, failure& why, std::string& detail) {
  need_runtime("connect_unix");
  unix_address to(path);
  why.error = to.error;
  detail = std::move(to.detail);
  if (why) return {};
  if (descriptor* const d = connect_to(to, why)) return net_access::unix_end(d);
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

std::pair<unix_stream, unix_stream> pair(std::error_code& error) {
  need_runtime("pair");
  failure why;
  int ends[2];
  std::pair<unix_stream, unix_stream> result;
  if (const int made = pair_now(ends); made != 0) {
    why.error = -made;
  } else {
    result.first = net_access::unix_end(unix_descriptor(ends[0], why));
    if (!why)
      result.second = net_access::unix_end(unix_descriptor(ends[1], why));
    else
      os::close(ends[1]);
  }
  error = to_code(why);
  return why ? std::pair<unix_stream, unix_stream>() : std::move(result);
}

std::pair<unix_stream, unix_stream> pair() {
  std::error_code error;
  auto result = pair(error);
  if (error) raise({error.value()}, "pair");
  return result;
}

}  // namespace net
}  // namespace v0
}  // namespace weft
