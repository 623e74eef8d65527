// SPDX-License-Identifier: Apache-2.0
// read_file and write_file.
//
// read_file. The size that a file says is a guess for the room: it may grow, and in /proc it is 0. So it is read until
// there is no more. What is no file is read as net::fd does it; it is opened non-blocking, for the open of a FIFO would
// wait for a writer, in a thread and not cancellably. Until a writer has come, a FIFO reads as ended and polls as
// neither readable nor hung up, so it is polled first.
//
// write_file. The order that a crash does not break: content and mode of the temporary, its fsync, the rename, the fsync
// of the directory. Past the rename nothing looks at cancellation: the caller is told what has happened.
#include <weft/file/whole.hpp>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include <weft/detail/atomic.hpp>
#include <weft/net/fd.hpp>

#include "netpoll/address.hpp"
#include "netpoll/backend.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/failure.hpp"
#include "netpoll/file_calls.hpp"
#include "netpoll/open.hpp"
#include "netpoll/open_file.hpp"
#include "runtime/sched/blocking.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

/// A number that is closed in the end, unless it has gone to somebody else by then.
class closed_in_the_end {
 public:
  explicit closed_in_the_end(int number) noexcept : number_(number) {}
  ~closed_in_the_end() {
    if (number_ < 0) return;
    const blocking_section announced;
    close_file_now(number_);
  }
  closed_in_the_end(const closed_in_the_end&) = delete;
  closed_in_the_end& operator=(const closed_in_the_end&) = delete;

  void let_go() noexcept { number_ = -1; }

 private:
  int number_;
};

// --- read_file

/// Fills room with what `read(used, to)` gives, until that is nothing. Returns how much it is.
template <class Read>
std::size_t read_to_the_end(detail::grow_room grow, void* where, std::size_t expected, const failure& why, Read read) {
  constexpr std::size_t least = 4096;
  std::size_t size = std::max(expected + 1, least);  // one more: there the end shows
  std::size_t used = 0;
  for (;;) {
    const std::span<std::byte> room = grow(where, size);
    while (used < room.size()) {
      const std::size_t n = read(used, room.subspan(used));
      used += n;
      if (why) return 0;
      if (n == 0) return used;
    }
    size += size / 2;
  }
}

std::size_t read_file_to_the_end(file f, detail::grow_room grow, void* where, failure& why) {
  open_file* const it = file_access::of(f);
  const std::uint64_t size = size_of_file(it, why);
  if (why) return 0;
  const auto expected =
      static_cast<std::size_t>(std::min<std::uint64_t>(size, std::numeric_limits<std::ptrdiff_t>::max()));
  return read_to_the_end(grow, where, expected, why,
                         [&](std::size_t at, std::span<std::byte> to) { return read_file_at(it, at, to, why); });
}

std::size_t read_stream_to_the_end(net::fd& from, detail::grow_room grow, void* where, failure& why) {
  std::error_code error;
  // Nobody else can close it: what ends a wait is a cancellation.
  const auto take_in = [&] { why = {error.value(), error.value() == ECANCELED}; };
  from.wait_readable(error);
  take_in();
  if (why) return 0;
  return read_to_the_end(grow, where, 0, why, [&](std::size_t, std::span<std::byte> to) {
    const std::size_t n = from.read_some(to, error);
    take_in();
    return n;
  });
}

std::size_t read_whole(std::string_view path, detail::grow_room grow, void* where, failure& why) {
  why = file_call_begins();
  if (!why && path.find('\0') != std::string_view::npos) why = {EINVAL};
  if (why) return 0;
  const std::string terminated(path);
  std::string name = quoted(path);
  int flags = O_RDONLY | O_NONBLOCK;
  int number = open_number(terminated, flags, 0);
  if (number == -EWOULDBLOCK) {  // a lease, whose holder is given the time to let go
    flags = O_RDONLY;
    number = open_number(terminated, flags, 0);
  }
  if (number < 0) {
    why.error = -number;
    return 0;
  }
  closed_in_the_end kept(number);
  const int format = format_now(number);
  if (format == S_IFDIR) {
    why.error = EISDIR;
    return 0;
  }
  if (format != S_IFREG && format != S_IFBLK) {
    std::error_code error;
    net::fd stream(number, error);
    if (!error) {
      kept.let_go();
      return read_stream_to_the_end(stream, grow, where, why);
    }
    if (error.value() != EPERM) {
      why.error = error.value();
      return 0;
    }
  }
  file f = file_access::make(wrap_file(number, flags, std::move(name)));
  kept.let_go();
  return read_file_to_the_end(std::move(f), grow, where, why);
}

// --- write_file

/// What is to be replaced.
struct target_file {
  std::string path;  ///< with no link in its last part
  bool is_there = false;
  struct stat was {};  ///< if it is there
};

/// Up to and with the last slash.
std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/') + 1); }

/// Follows the links that `path` ends in. Returns 0, or the errno.
[[gnu::noinline]] int follow_links(std::string& path) {
  constexpr int most_links = 40;  // as many as the kernel follows
  std::string link;
  for (int links = 0; links <= most_links; ++links) {
    link.resize(PATH_MAX);
    const ssize_t n = ::readlink(path.c_str(), link.data(), link.size());
    if (n < 0) return errno == EINVAL || errno == ENOENT ? 0 : errno;  // no link; or nothing is there yet
    link.resize(static_cast<std::size_t>(n));
    path = link.front() == '/' ? std::string() : folder_of(path);
    path += link;
  }
  return ELOOP;
}

/// Finds out what `path` names. Returns 0, or the errno; ESTALE if the name was given to another file under way, or is
/// none: a link of /proc to an open file that has lost its name, or has it elsewhere.
[[gnu::noinline]] int find_target_once(const std::string& path, target_file& target) {
  target.path = path;
  target.is_there = ::stat(path.c_str(), &target.was) == 0;
  if (!target.is_there && errno != ENOENT) return errno;
  if (target.is_there && S_ISDIR(target.was.st_mode)) return EISDIR;
  if (target.is_there && !S_ISREG(target.was.st_mode)) return EINVAL;
  if (path.back() == '/') return EISDIR;
  if (const int error = follow_links(target.path)) return error;
  if (!target.is_there) return 0;
  struct stat found {};
  if (::lstat(target.path.c_str(), &found) != 0) return errno == ENOENT ? ESTALE : errno;
  return found.st_dev == target.was.st_dev && found.st_ino == target.was.st_ino ? 0 : ESTALE;
}

/// Finds out what `path` names, and whether it may be replaced. Returns 0, or the errno.
[[gnu::noinline]] int find_target(const std::string& path, target_file& target) {
  constexpr int most_tries = 1000;  // other writers put a new file there all the time
  if (path.empty()) return ENOENT;
  int error = ESTALE;
  for (int tries = 0; error == ESTALE && tries < most_tries; ++tries) error = find_target_once(path, target);
  if (error == ESTALE) return ENOENT;
  if (error != 0 || !target.is_there) return error;
  if (::faccessat(AT_FDCWD, target.path.c_str(), W_OK, AT_EACCESS) == 0 || errno == ENOENT) return 0;
  return errno;
}

/// Gives the new file owner, group and mode of the one that it is to replace. Returns 0, or the errno.
[[gnu::noinline]] int take_over_rights(int number, const struct stat& was) noexcept {
  struct stat is {};
  if (::fstat(number, &is) != 0) return errno;
  mode_t mode = was.st_mode & 07777;
  const bool same = is.st_uid == was.st_uid && is.st_gid == was.st_gid;
  if (!same && ::fchown(number, was.st_uid, was.st_gid) != 0) {
    // A program that runs as its owner must not come to run as another.
    mode &= ~static_cast<mode_t>(S_ISUID);
    if (is.st_gid != was.st_gid && ::fchown(number, static_cast<uid_t>(-1), was.st_gid) != 0)
      mode &= ~static_cast<mode_t>(S_ISGID);
  }
  return ::fchmod(number, mode) == 0 ? 0 : errno;
}

/// A new file in the directory of another, which is gone in the end unless it has taken that one's place.
class temporary_file {
 public:
  /// With the rights of what it is to replace. Says in `why` how it failed.
  temporary_file(const target_file& target, failure& why) : target_(target) {
    const std::string prefix = folder_of(target.path) + ".weft-" + std::to_string(::getpid()) + '-';
    const mode_t mode = target.is_there ? 0600 : 0644;
    int number = -EEXIST;
    // Another process, in a container that shares the directory, may have the same number.
    while (number == -EEXIST) {
      path_ = prefix + std::to_string(next_.fetch_add(1, std::memory_order_relaxed));
      number = open_number(path_, O_WRONLY | O_CREAT | O_EXCL, mode);
    }
    if (number < 0) {
      why.error = -number;
      return;
    }
    is_there_ = true;
    closed_in_the_end kept(number);
    if (target.is_there) {
      const blocking_section announced;
      why.error = take_over_rights(number, target.was);
    }
    if (why) {
      remove();
      return;
    }
    try {
      file_ = file_access::make(wrap_file(number, O_WRONLY, quoted(path_)));
    } catch (...) {
      remove();
      throw;
    }
    kept.let_go();
  }
  ~temporary_file() { remove(); }
  temporary_file(const temporary_file&) = delete;
  temporary_file& operator=(const temporary_file&) = delete;

  open_file* it() const noexcept { return file_access::of(file_); }

  /// Puts it in the place of the target. Returns 0, or the errno.
  int replace() noexcept {
    file_.close();
    const blocking_section announced;
    const int error = rename_now(path_.c_str(), target_.path.c_str());
    is_there_ = error != 0;
    return error;
  }

 private:
  [[gnu::noinline]] static int rename_now(const char* from, const char* to) noexcept {
    return ::rename(from, to) == 0 ? 0 : errno;
  }
  void remove() noexcept {
    if (!is_there_) return;
    is_there_ = false;
    const blocking_section announced;
    ::unlink(path_.c_str());
  }

  static constinit inline detail::atomic<std::uint64_t> next_{0};  // relaxed: any number that is not there yet

  const target_file& target_;
  std::string path_;
  file file_;
  bool is_there_ = false;
};

/// Has the directory of `path` remember its names. Returns 0, or the errno. Some file systems cannot be told so, and a
/// directory that may not be read cannot be opened.
int sync_folder_of(const std::string& path) {
  std::string folder = folder_of(path);
  if (folder.empty()) folder = std::string(1, '.');
  const int number = open_number(folder, O_RDONLY | O_DIRECTORY, 0);
  if (number < 0) return number == -EACCES ? 0 : -number;
  const closed_in_the_end kept(number);
  file_op op(file_action::sync, number, std::span<iovec>(), 0);
  perform(engine_for_files(), op);
  return op.error == EINVAL || op.error == EOPNOTSUPP ? 0 : op.error;
}

failure write_whole(std::string_view path, std::span<const std::byte> data) {
  failure why = file_call_begins();
  if (!why && path.find('\0') != std::string_view::npos) why = {EINVAL};
  if (why) return why;
  target_file target;
  {
    const blocking_section announced;
    why.error = find_target(std::string(path), target);
  }
  if (why) return why;
  temporary_file fresh(target, why);
  if (!why) write_file_at(fresh.it(), 0, data, why);
  if (!why) why = sync_file(fresh.it(), file_action::sync);
  if (!why) why.error = fresh.replace();
  if (!why) why.error = sync_folder_of(target.path);
  return why;
}

[[noreturn]] void raise_of_writing(const failure& why, std::string_view path) {
  const char* cure = "";
  if (why.error == EINVAL) cure = ": it is no file that can be replaced (expected a regular file, or none)";
  if (why.error == EACCES) cure = " by a new file beside it (both it and its directory must be writable)";
  raise_for_file(why, "write_file", quoted(path) + cure);
}

}  // namespace

std::size_t detail::read_whole_file(std::string_view path, grow_room grow, void* where, std::error_code* error) {
  need_runtime("reading a file");
  const auto act = [&](failure& why) { return read_whole(path, grow, where, why); };
  if (error != nullptr) return or_code(*error, act);
  return or_throw([&](const failure& why) { raise_for_file(why, "read_file", quoted(path)); }, act);
}

void write_file(std::string_view path, std::span<const std::byte> data) {
  need_runtime("writing a file");
  if (const failure why = write_whole(path, data)) [[unlikely]]
    raise_of_writing(why, path);
}

void write_file(std::string_view path, std::span<const std::byte> data, std::error_code& error) {
  need_runtime("writing a file");
  error = to_code(write_whole(path, data));
}

}  // namespace v0
}  // namespace weft
