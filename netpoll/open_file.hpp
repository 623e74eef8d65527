// SPDX-License-Identifier: Apache-2.0
// An open file, and what is done with it: for weft::file, and what stands on it.
//
// Every function that takes a `failure` says there how it failed, and returns how much was done before. `f` may be null:
// EBADF.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include <weft/detail/atomic.hpp>
#include <weft/file.hpp>

#include "netpoll/failure.hpp"
#include "netpoll/file_engine.hpp"
#include "netpoll/table.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft::rt {

/// How bytes move: netpoll/file_transfer.cpp.
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
  std::string name;  ///< as messages call it
  int fd = -1;
  bool direct = false;
  bool appends = false;
  bool was_nonblocking = false;       ///< when it was adopted, and is to be again
  basic_descriptor<net_traits> gate;  ///< for its count of those inside, and its close; no fiber waits for readiness
  close_event close_finished;
  // Relaxed: what is found out twice is the same.
  detail::atomic<file_way> reads{file_way::at_once_first};
  detail::atomic<file_way> writes{file_way::at_once_first};
  detail::atomic<std::uint16_t> in_a_row{0};  ///< operations without a park; relaxed, and some may not count
};

inline constexpr auto last_offset = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());

/// The first check of every call on files: a cancelled one does nothing.
failure file_call_begins() noexcept;

/// Keeps the file open for one operation.
class inside_file {
 public:
  inside_file(open_file* f, failure& why) noexcept;
  ~inside_file();
  inside_file(const inside_file&) = delete;
  inside_file& operator=(const inside_file&) = delete;

 private:
  open_file* f_ = nullptr;
};

// Bytes. Fewer than asked for only at the end of the file, or with a failure.
using pieces_to_fill = std::span<const std::span<std::byte>>;
using pieces_to_write = std::span<const std::span<const std::byte>>;
std::size_t read_file_at(open_file* f, std::uint64_t offset, std::span<std::byte> to, failure& why) noexcept;
std::size_t read_file_at(open_file* f, std::uint64_t offset, pieces_to_fill to, failure& why) noexcept;
std::size_t write_file_at(open_file* f, std::uint64_t offset, std::span<const std::byte> from, failure& why) noexcept;
std::size_t write_file_at(open_file* f, std::uint64_t offset, pieces_to_write from, failure& why) noexcept;

/// `how`: sync or sync_data.
failure sync_file(open_file* f, file_action how) noexcept;
std::uint64_t size_of_file(open_file* f, failure& why) noexcept;
failure truncate_file(open_file* f, std::uint64_t size) noexcept;
failure allocate_in_file(open_file* f, std::uint64_t offset, std::uint64_t length) noexcept;

/// Opens `path`, announced as blocking, and tries again while it is interrupted. Returns the number, or minus the errno.
int open_number(const std::string& path, int flags, mode_t mode) noexcept;
/// Makes `number` a file, which has been opened with `flags`; it is the file's from here on.
open_file* wrap_file(int number, int flags, std::string name);
/// The same with a number that anybody has opened. Returns nullptr if it is no file: the number stays the caller's.
open_file* adopt_file(int number, failure& why);
/// Returns nullptr if it fails.
open_file* open_path(std::string_view path, int flags, mode_t mode, failure& why);

/// Fails what is begun later and waits, shielded, for those inside. Returns the number, which is the caller's, or -1 if
/// another thread has closed the file or is closing it.
int detach_file(open_file& f) noexcept;
void close_file(open_file& f) noexcept;
/// Closes it and gives it back. No other thread may know of it, but for one that is still about to leave its close.
void destroy_file(open_file* f) noexcept;

/// Throws a failure, with the message "weft::file: VERB NAME".
[[noreturn]] void raise_for_file(const failure& why, const char* verb, std::string_view name);

/// The same for a file that may be null.
struct file_failed_to {
  const char* verb;
  const open_file* f;
  [[noreturn]] void operator()(const failure& why) const;
};

/// How the library looks into weft::file, and makes one.
struct file_access {
  static open_file* of(const file& f) noexcept { return f.f_; }
  static file make(open_file* f) noexcept { return file(f); }
};

}  // namespace weft::rt
