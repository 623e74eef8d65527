// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/kernel/disk.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <string>

#include "netpoll/file_calls.hpp"
#include "tests/sim/kernel/troubles.hpp"
#include "tests/sim/simulation.hpp"

namespace sim::kernel {

namespace {

struct open_number {
  std::string* bytes;
  bool appends;
  int calls = 0;  ///< that are at it
};

bool chosen = false;
disk_troubles these;
std::map<std::string, std::string> files;
std::map<int, open_number> numbers;
int next_number = 100'000;  // not one of a socket's

void choose_once() noexcept {
  if (chosen) return;
  chosen = true;
  disk_troubles& t = these;
  t.not_cached_one_in = choose(4);
  if (choose(3) == 0) t.short_one_in = 2 + choose(8);
  if (choose(3) == 0) t.interrupted_one_in = 2 + choose(10);
  t.cannot_tell = choose(3) == 0;
  t.in_memory = choose(2) == 0;
  constexpr instant latencies[] = {0, 50'000, 500'000, 5'000'000};
  t.latency = latencies[choose(4)];
}

/// A call on a number, from its beginning to its end.
class call {
 public:
  explicit call(int fd) noexcept {
    step();
    choose_once();
    const auto found = numbers.find(fd);
    if (found == numbers.end()) fail("a call on a file that is closed");
    at_ = &found->second;
    ++at_->calls;
  }
  ~call() { --at_->calls; }
  call(const call&) = delete;
  call& operator=(const call&) = delete;

  std::string& bytes() const noexcept { return *at_->bytes; }
  bool appends() const noexcept { return at_->appends; }
  /// Waits for the disk, unless it is to be done `at_once`. Returns 0, or minus the errno.
  ssize_t begin(bool at_once) const noexcept {
    if (one_in(these.interrupted_one_in)) return -EINTR;
    if (at_once && these.cannot_tell) return -EOPNOTSUPP;
    if (at_once) return one_in(these.not_cached_one_in) ? -EAGAIN : 0;
    if (these.latency != 0) block(choose(static_cast<std::uint32_t>(these.latency)));
    return 0;
  }

 private:
  open_number* at_ = nullptr;
};

std::size_t size_of(const iovec* pieces, std::size_t count) noexcept {
  std::size_t size = 0;
  for (std::size_t i = 0; i < count; ++i) size += pieces[i].iov_len;
  return size;
}

std::size_t count_of(std::size_t n) noexcept { return n > 1 && one_in(these.short_one_in) ? 1 + n / 2 : n; }

}  // namespace

disk_troubles& disk_trouble() noexcept {
  choose_once();
  return these;
}
void print_disk_troubles(std::FILE* out) noexcept {
  if (!chosen) return;
  std::fprintf(out, "files: latency at most %.3f ms; %s", static_cast<double>(these.latency) * 1e-6,
               !these.cannot_tell ? "RWF_NOWAIT"
               : these.in_memory  ? "no RWF_NOWAIT, in memory"
                                  : "no RWF_NOWAIT");
  if (these.not_cached_one_in != 0) std::fprintf(out, "; not in the cache, 1 in %u", these.not_cached_one_in);
  if (these.short_one_in != 0) std::fprintf(out, "; a count is short, 1 in %u", these.short_one_in);
  if (these.interrupted_one_in != 0) std::fprintf(out, "; a call is interrupted, 1 in %u", these.interrupted_one_in);
  std::fputc('\n', out);
}
int open_disk_files() noexcept { return static_cast<int>(numbers.size()); }

}  // namespace sim::kernel

namespace weft::rt {

using sim::kernel::call;
using sim::kernel::count_of;
using sim::kernel::size_of;

ssize_t read_file_now(int fd, const iovec* to, std::size_t pieces, std::uint64_t offset, bool at_once) noexcept {
  const call here(fd);
  if (const ssize_t no = here.begin(at_once)) return no;
  const std::string& bytes = here.bytes();
  if (offset >= bytes.size()) return 0;
  const std::size_t some = count_of(std::min<std::size_t>(size_of(to, pieces), bytes.size() - offset));
  std::size_t done = 0;
  for (; done < some; ++to) {
    const std::size_t n = std::min(to->iov_len, some - done);
    if (n != 0) std::memcpy(to->iov_base, bytes.data() + offset + done, n);
    done += n;
  }
  return static_cast<ssize_t>(some);
}

ssize_t write_file_now(int fd, const iovec* from, std::size_t pieces, std::uint64_t offset, bool at_once) noexcept {
  const call here(fd);
  if (const ssize_t no = here.begin(at_once)) return no;
  std::string& bytes = here.bytes();
  if (here.appends()) offset = bytes.size();
  const std::size_t some = count_of(size_of(from, pieces));
  if (bytes.size() < offset + some) bytes.resize(offset + some);
  std::size_t done = 0;
  for (; done < some; ++from) {
    const std::size_t n = std::min(from->iov_len, some - done);
    if (n != 0) std::memcpy(bytes.data() + offset + done, from->iov_base, n);
    done += n;
  }
  return static_cast<ssize_t>(some);
}

int sync_file_now(int fd) noexcept {
  const call here(fd);
  return static_cast<int>(here.begin(false));
}

int sync_data_now(int fd) noexcept { return sync_file_now(fd); }

int allocate_now(int fd, int mode, std::uint64_t offset, std::uint64_t length) noexcept {
  const call here(fd);
  if (const ssize_t no = here.begin(false)) return static_cast<int>(no);
  std::string& bytes = here.bytes();
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && bytes.size() < offset + length) bytes.resize(offset + length);
  return 0;
}

int truncate_now(int fd, std::uint64_t size) noexcept {
  const call here(fd);
  if (const ssize_t no = here.begin(false)) return static_cast<int>(no);
  here.bytes().resize(size);
  return 0;
}

int open_file_now(const char* path, int flags, mode_t) noexcept {
  sim::step();
  const bool is_there = sim::kernel::files.count(path) != 0;
  if (!is_there && (flags & O_CREAT) == 0) return -ENOENT;
  if (is_there && (flags & O_EXCL) != 0) return -EEXIST;
  std::string& bytes = sim::kernel::files[path];
  if ((flags & O_TRUNC) != 0) bytes.clear();
  const int number = sim::kernel::next_number++;
  sim::kernel::numbers[number] = {&bytes, (flags & O_APPEND) != 0};
  return number;
}

void close_file_now(int fd) noexcept {
  sim::step();
  const auto found = sim::kernel::numbers.find(fd);
  if (found == sim::kernel::numbers.end()) sim::fail("a file is closed twice");
  if (found->second.calls != 0) sim::fail("a file is closed beside a call on it");
  sim::kernel::numbers.erase(found);
}

int open_flags_now(int fd) noexcept {
  const call here(fd);
  return O_RDWR | (here.appends() ? O_APPEND : 0);
}

int set_nonblocking_now(int fd, bool) noexcept {
  const call here(fd);
  return 0;
}

int file_size_now(int fd, std::uint64_t& size) noexcept {
  const call here(fd);
  size = here.bytes().size();
  return 0;
}

bool lives_in_memory_now(int fd) noexcept {
  const call here(fd);
  return sim::kernel::disk_trouble().in_memory;
}

}  // namespace weft::rt
