// SPDX-License-Identifier: Apache-2.0
// Open files and their numbers: what every kind of file has in common.
//
// Invariants
//  1. The lowest free number is given out first, from 3. A file is released when neither a number nor a call under
//     way stands for it. As in Linux: a call that waits keeps its file, although another thread closes the number.
//  2. A file says by `state` what holds now, as poll sees it. It calls `notify` at each arrival and each change, and
//     does not remember what it has told.
//  3. `take` and `put` do at once what can be done, or return -EAGAIN. Who waits asks again after a `notify`.
//  4. Nothing is freed: the process ends with its program.
//
// Not modelled: dup, fork, two numbers for one file, files without O_CLOEXEC, RLIMIT_NOFILE other than `most_files`.
#pragma once

#include <sys/epoll.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/sim/simulation.hpp"

namespace sim::kernel {

struct item;

struct file {
  int users = 0;  ///< numbers, and calls under way
  bool nonblocking = false;
  std::vector<item*> items;  ///< what epoll instances watch of it

  virtual ~file() = default;
  /// EPOLLIN and the like: what holds now.
  virtual std::uint32_t state() noexcept = 0;
  virtual void release() noexcept {}
  virtual mode_t format() const noexcept { return S_IFSOCK; }
  // The result, or minus the errno. The caller waits on EAGAIN.
  virtual ssize_t take(char*, std::size_t) noexcept { return -EINVAL; }
  virtual ssize_t put(const char*, std::size_t) noexcept { return -EINVAL; }
};

/// Returns -1, with the errno.
int say(int error) noexcept;
/// The same for a result that is minus an errno.
ssize_t said(ssize_t result) noexcept;

/// Null if the number is not open.
file* file_at(int number) noexcept;
/// Null if the file is of another kind. weft never names a number that is not open, since it might be another's by
/// then: that fails the run.
template <class T>
T* file_of(int number) noexcept {
  file* const f = file_at(number);
  if (f == nullptr) fail("a system call on a number that is not open");
  return dynamic_cast<T*>(f);
}

/// Returns the number, or -EMFILE.
int give_number(file* f, bool nonblocking) noexcept;
bool number_is_free() noexcept;
void take_number(int number) noexcept;

/// A call under way.
class in_use {
 public:
  explicit in_use(file* f) noexcept : f_(f) { ++f->users; }
  ~in_use();
  in_use(const in_use&) = delete;
  in_use& operator=(const in_use&) = delete;

 private:
  file* const f_;
};

/// Tells those who wait for the file. `what`: what has arrived; 0: a change of state, which everybody is told.
void notify(file* f, std::uint32_t what) noexcept;

/// Waits until something of `what` holds, or an error or a hang-up. Returns 0 or EINTR.
int wait_for(file* f, std::uint32_t what) noexcept;

/// Calls `call` again and again until it says something else than -EAGAIN. Returns what a system call returns.
template <class F>
ssize_t until_done(file* f, std::uint32_t what, bool may_wait, F call) noexcept {
  for (;;) {
    const ssize_t n = call();
    if (n != -EAGAIN || !may_wait || f->nonblocking) return said(n);
    if (const int error = wait_for(f, what)) return say(error);
  }
}

}  // namespace sim::kernel
