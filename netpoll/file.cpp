// SPDX-License-Identifier: Apache-2.0
// Files: what can be done at once is done by the caller, the rest by the engine.
//
//   read, buffered        preadv2(RWF_NOWAIT) until it is full, at the end, or says EAGAIN; then the rest to the engine
//   read, no RWF_NOWAIT   remembered; here, announced as blocking, where data lives in memory (tmpfs, /proc); else the
//                         engine
//   write, buffered       pwritev2(RWF_NOWAIT), where the file system has it; EAGAIN: the rest to the engine
//   write, no RWF_NOWAIT  remembered; here, announced as blocking (ext4: a fifth of what a worker of the kernel costs)
//   write, O_APPEND       here, announced as blocking: in one call, or another's record might land within it
//   O_DIRECT, O_SYNC      engine; with O_APPEND where it may block from the start, for the same reason
//   fsync                 engine
//   open, size, close     here, announced as blocking
//
// A short count says nothing: the page after it may not be in the cache, or the file may end there. So the call is made
// again, and that says EAGAIN or 0.
//
// Locked instructions of a cached read: 2, to keep the file open around it.
#include <weft/file.hpp>

#include <cerrno>
#include <limits>
#include <new>
#include <string>

#include <weft/detail/atomic.hpp>

#include "netpoll/accept.hpp"
#include "netpoll/backend.hpp"
#include "netpoll/failure.hpp"
#include "netpoll/file_calls.hpp"
#include "netpoll/file_engine.hpp"
#include "netpoll/open.hpp"
#include "netpoll/table.hpp"
#include "runtime/fiber/overflow.hpp"
#include "runtime/sched/blocking.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft {
namespace rt {

enum class file_way : std::uint8_t { at_once_first, here, engine };

/// Set by the thread that closes a file, as its last access to it. The thread that destroys the file waits for that.
class close_event {
 public:
  void set() noexcept {
    lock_.lock();
    set_ = true;
    g_list woken = wait_queue<env>(waiters_).pop_all(wait_result::ok);
    lock_.unlock();
    wake_all(woken);
  }
  void wait() noexcept {
    lock_.lock();
    if (set_) {
      lock_.unlock();
      return;
    }
    waiter<env> w;
    lock_.wait(waiters_, w, {wait_reason::io_wait, false, never});
  }

 private:
  queue_lock<env> lock_;  // its release is the last that `set` does to the object
  bool set_ WEFT_GUARDED_BY(lock_) = false;
  detail::wait_list waiters_ WEFT_GUARDED_BY(lock_);
};

struct open_file {
  std::string path;
  int fd = -1;
  bool direct = false;
  bool appends = false;
  basic_descriptor<net_traits> gate;  ///< for its count of those inside, and its close; no fiber waits for readiness
  close_event close_finished;
  // Relaxed: what is found out twice is the same.
  detail::atomic<file_way> reads{file_way::at_once_first};
  detail::atomic<file_way> writes{file_way::at_once_first};
  detail::atomic<std::uint16_t> in_a_row{0};  ///< operations without a park; relaxed, and some may not count
};

}  // namespace rt

inline namespace v0 {

using namespace rt;

namespace {

constexpr std::uint16_t most_in_a_row = 128;  // before others get a turn
constexpr auto last_offset = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());

failure at_entry() noexcept {
  refuse_after_fork("use of a file");
  G* const g = current_g();
  const bool cancelled = cancel_pending_at_entry(g) || net_traits::cancel_pending(g);
  return cancelled ? failure_of(wait_outcome::cancelled) : failure{};
}

/// Keeps the file open for one operation.
class inside_file {
 public:
  inside_file(open_file* f, failure& why) noexcept {
    if (f == nullptr)
      why = {EBADF};
    else if (why = at_entry(); !why && !f->gate.hold())
      why = failure_of(wait_outcome::closed);
    if (!why) f_ = f;
  }
  ~inside_file() {
    if (f_ == nullptr) return;
    const auto in_a_row = static_cast<std::uint16_t>(f_->in_a_row.load(std::memory_order_relaxed) + 1);
    const bool enough = in_a_row >= most_in_a_row;
    f_->in_a_row.store(enough ? std::uint16_t{0} : in_a_row, std::memory_order_relaxed);
    f_->gate.drop();
    if (enough && current_fiber() != nullptr) yield_now();
  }
  inside_file(const inside_file&) = delete;
  inside_file& operator=(const inside_file&) = delete;

 private:
  open_file* f_ = nullptr;
};

bool cannot_tell(ssize_t result) noexcept {
  // ENOSYS, EPERM: a seccomp filter that does not know the call.
  return result == -EOPNOTSUPP || result == -ENOSYS || result == -EPERM;
}

/// Moves bytes the way that the file's `way` says, and finds out what way that is. Returns how many.
std::size_t transfer(open_file& f, file_op& op, detail::atomic<file_way>& way, failure& why) noexcept {
  const bool reads = op.action == file_action::read;
  void* const begin = op.at;
  const std::size_t size = op.left;
  op.direct = f.direct;
  op.blocks = f.appends && !reads;
  bool done = op.left == 0;
  while (!done && way.load(std::memory_order_relaxed) == file_way::at_once_first) {
    const ssize_t n = reads ? read_file_now(op.fd, op.at, op.left, op.offset, true)
                            : write_file_now(op.fd, op.at, op.left, op.offset, true);
    if (n == -EAGAIN) break;
    if (cannot_tell(n)) {
      const bool here = !reads || lives_in_memory_now(op.fd);
      way.store(here ? file_way::here : file_way::engine, std::memory_order_relaxed);
    } else {
      done = op.advance(n);
    }
  }
  if (!done) {
    if (way.load(std::memory_order_relaxed) == file_way::here) {
      perform_here(op);
    } else {
      f.in_a_row.store(0, std::memory_order_relaxed);
      perform(engine_for_files(), op);
    }
  }
  why.error = op.error;
  if (op.error == EFAULT) [[unlikely]]
    fault_on_guard(begin, size);
  return op.done;
}

std::size_t read_from(open_file* f, std::uint64_t offset, std::span<std::byte> to, failure& why) noexcept {
  const inside_file inside(f, why);
  if (!why && offset > last_offset) why = {EINVAL};
  if (why) return 0;
  file_op op(file_action::read, f->fd, to.data(), to.size(), offset);
  return transfer(*f, op, f->reads, why);
}

std::size_t write_to(open_file* f, std::uint64_t offset, std::span<const std::byte> from, failure& why) noexcept {
  const inside_file inside(f, why);
  if (!why && offset > last_offset) why = {EINVAL};
  if (why) return 0;
  file_op op(file_action::write, f->fd, const_cast<std::byte*>(from.data()), from.size(), offset);
  return transfer(*f, op, f->writes, why);
}

failure sync(open_file* f) noexcept {
  failure why;
  const inside_file inside(f, why);
  if (why) return why;
  file_op op(file_action::sync, f->fd, nullptr, 0, 0);
  perform(engine_for_files(), op);
  return {op.error};
}

std::uint64_t size_of(open_file* f, failure& why) noexcept {
  const inside_file inside(f, why);
  std::uint64_t size = 0;
  if (why) return size;
  const blocking_section announced;
  why.error = -file_size_now(f->fd, size);
  return size;
}

open_file* open_path(std::string_view path, int flags, mode_t mode, failure& why) {
  why = at_entry();
  if (why) return nullptr;
  if (path.find('\0') != std::string_view::npos) {
    why = {EINVAL};
    return nullptr;
  }
  auto* const f = new open_file;
  try {
    f->path = path;
  } catch (const std::bad_alloc&) {
    delete f;
    throw;
  }
  give_way_where_threads_are_short();
  {
    const blocking_section announced;
    while ((f->fd = open_file_now(f->path.c_str(), flags, mode)) == -EINTR) {
    }
    // On a file it would only turn waits of the engine into errors.
    if (f->fd >= 0 && (flags & O_NONBLOCK) != 0) clear_nonblocking_now(f->fd);
  }
  if (f->fd < 0) {
    why.error = -f->fd;
    delete f;
    return nullptr;
  }
  f->gate.open(f->fd, false);
  f->direct = (flags & O_DIRECT) != 0;
  f->appends = (flags & O_APPEND) != 0;
  if (f->direct) f->reads.store(file_way::engine, std::memory_order_relaxed);
  if (f->direct || (flags & O_DSYNC) != 0)  // O_SYNC has the bit, too
    f->writes.store(file_way::engine, std::memory_order_relaxed);
  else if (f->appends)
    f->writes.store(file_way::here, std::memory_order_relaxed);
  return f;
}

void close_file(open_file& f) noexcept {
  if (!f.gate.close()) return;
  {
    const blocking_section announced;
    close_file_now(f.fd);
    descriptor_came_free();
  }
  f.close_finished.set();
}

[[noreturn]] [[gnu::cold]] void fail(const failure& why, const char* verb, std::string_view path) {
  if (why.cancelled) throw_cancelled();
  throw std::system_error(to_code(why), std::string("weft::file: ") + verb + " \"" + std::string(path) + '"');
}

/// Throws a failure, and says which file it was.
struct failed_to {
  const char* verb;
  const open_file* f;
  [[noreturn]] void operator()(const failure& why) const {
    fail(why, verb, f != nullptr ? std::string_view(f->path) : std::string_view("(no file)"));
  }
};

}  // namespace

file file::open(std::string_view path, int flags, mode_t mode) {
  need_runtime("opening a file");
  return file(or_throw([&](const failure& why) { fail(why, "open", path); },
                       [&](failure& why) { return open_path(path, flags, mode, why); }));
}

file file::open(std::string_view path, int flags, mode_t mode, std::error_code& error) {
  need_runtime("opening a file");
  return file(or_code(error, [&](failure& why) { return open_path(path, flags, mode, why); }));
}

std::size_t file::read_at(std::uint64_t offset, std::span<std::byte> to) {
  return or_throw(failed_to{"read from", f_}, [&](failure& why) { return read_from(f_, offset, to, why); });
}

std::size_t file::read_at(std::uint64_t offset, std::span<std::byte> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return read_from(f_, offset, to, why); });
}

std::size_t file::write_at(std::uint64_t offset, std::span<const std::byte> from) {
  return or_throw(failed_to{"write to", f_}, [&](failure& why) { return write_to(f_, offset, from, why); });
}

std::size_t file::write_at(std::uint64_t offset, std::span<const std::byte> from, std::error_code& error) {
  return or_code(error, [&](failure& why) { return write_to(f_, offset, from, why); });
}

void file::fsync() {
  if (const failure why = sync(f_)) [[unlikely]]
    failed_to{"fsync of", f_}(why);
}

void file::fsync(std::error_code& error) { error = to_code(sync(f_)); }

std::uint64_t file::size() const {
  return or_throw(failed_to{"size of", f_}, [&](failure& why) { return size_of(f_, why); });
}

std::uint64_t file::size(std::error_code& error) const {
  return or_code(error, [&](failure& why) { return size_of(f_, why); });
}

void file::close() noexcept {
  if (f_ != nullptr) close_file(*f_);
}

void file::release() noexcept {
  close_file(*f_);
  f_->close_finished.wait();
  delete f_;
  f_ = nullptr;
}

int file::native_handle() const noexcept {
  if (f_ == nullptr || !f_->gate.hold()) return -1;
  const int fd = f_->fd;
  f_->gate.drop();
  return fd;
}

}  // namespace v0
}  // namespace weft
