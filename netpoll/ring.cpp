// SPDX-License-Identifier: Apache-2.0
#include "netpoll/ring.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

namespace {

constexpr ring_shape ladder[] = {
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
     "SINGLE_ISSUER|DEFER_TASKRUN"},                                                              // 6.1
    {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE, "COOP_TASKRUN"},  // 5.19
    {IORING_SETUP_CQSIZE, "plain"},                                                               // 5.5
};

struct named_feature {
  unsigned bit;
  const char* name;
};
constexpr named_feature needed_features[] = {
    {IORING_FEAT_NODROP, "NODROP"},
    {IORING_FEAT_SUBMIT_STABLE, "SUBMIT_STABLE"},
    {IORING_FEAT_RW_CUR_POS, "RW_CUR_POS"},
    {IORING_FEAT_NATIVE_WORKERS, "NATIVE_WORKERS (Linux 5.12)"},
    {IORING_FEAT_RSRC_TAGS, "RSRC_TAGS (Linux 5.13, which brought multishot polls, too)"},
};

struct named_operation {
  int code;
  const char* name;
};
constexpr named_operation needed_operations[] = {
    {IORING_OP_NOP, "NOP"},     {IORING_OP_READ, "READ"},         {IORING_OP_WRITE, "WRITE"},
    {IORING_OP_FSYNC, "FSYNC"}, {IORING_OP_POLL_ADD, "POLL_ADD"}, {IORING_OP_POLL_REMOVE, "POLL_REMOVE"},
    {IORING_OP_READV, "READV"}, {IORING_OP_WRITEV, "WRITEV"},     {IORING_OP_FALLOCATE, "FALLOCATE"},
};

template <class... Args>
bool refuse(ring_refusal& to, int error, const char* format, Args... args) noexcept {
  to.error = error;
  if constexpr (sizeof...(Args) == 0)
    std::snprintf(to.why, sizeof to.why, "%s", format);
  else
    std::snprintf(to.why, sizeof to.why, format, args...);
  return false;
}

/// kernel.io_uring_disabled; -1: this kernel has no such switch.
int disabled_by_sysctl() noexcept {
  const int fd = ::open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  char digit = 0;
  const ssize_t n = ::read(fd, &digit, 1);
  ::close(fd);
  return n == 1 ? digit - '0' : -1;
}

bool refuse_setup(ring_refusal& to, int error) noexcept {
  switch (error) {
    case EPERM: {
      const int disabled = disabled_by_sysctl();
      if (disabled > 0)
        return refuse(to, error, "io_uring_setup: EPERM: kernel.io_uring_disabled is %d; set it to 0", disabled);
      return refuse(to, error, "io_uring_setup: EPERM: a seccomp filter or a security module forbids it%s",
                    disabled == 0 ? " (kernel.io_uring_disabled is 0)" : "");
    }
    case ENOSYS:
      return refuse(to, error, "io_uring_setup: ENOSYS: the kernel has none, or a seccomp filter hides it");
    case ENOMEM: {
      rlimit locked{};
      getrlimit(RLIMIT_MEMLOCK, &locked);
      return refuse(to, error, "io_uring_setup: ENOMEM: no memory, or too little may be locked (ulimit -l is %lld KiB)",
                    locked.rlim_cur == RLIM_INFINITY ? -1LL : static_cast<long long>(locked.rlim_cur / 1024));
    }
    case EMFILE:
      return refuse(to, error, "io_uring_setup: EMFILE: this process may open no further file; raise ulimit -n");
    case ENFILE:
      return refuse(to, error, "io_uring_setup: ENFILE: the system may open no further file; raise fs.file-max");
    case EINVAL:
      return refuse(to, error, "io_uring_setup: EINVAL: the kernel accepts no set of flags that is known here");
    default:
      return refuse(to, error, "io_uring_setup: error %d", error);
  }
}

/// Submits what is prepared, and waits for the next completion.
bool next_completion(io_uring& ring, const ring_calls& calls, io_uring_cqe& out, ring_refusal& refusal) noexcept {
  for (;;) {
    io_uring_cqe* found = nullptr;
    if (io_uring_peek_cqe(&ring, &found) == 0) {
      out = *found;
      io_uring_cqe_seen(&ring, found);
      return true;
    }
    const int result = calls.enter(&ring, 1);
    if (result < 0 && result != -EINTR)
      return refuse(refusal, -result, "io_uring_enter: error %d%s", -result,
                    result == -EPERM || result == -ENOSYS ? ": a seccomp filter forbids it" : "");
  }
}

bool broken(ring_refusal& refusal, const char* what, int result) noexcept {
  return refuse(refusal, EIO, "it does not work here: %s gave %d", what, result);
}

bool completes_a_nop(io_uring& ring, const ring_calls& calls, ring_refusal& refusal) noexcept {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
  io_uring_prep_nop(sqe);
  io_uring_sqe_set_data64(sqe, 42);
  io_uring_cqe cqe;
  if (!next_completion(ring, calls, cqe, refusal)) return false;
  return (cqe.res == 0 && cqe.user_data == 42) || broken(refusal, "NOP", cqe.res);
}

bool reads_a_file(io_uring& ring, const ring_calls& calls, ring_refusal& refusal) noexcept {
  const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return true;  // no /proc: there is nothing to compare
  char expected[4096], found[4096];
  const ssize_t size = ::pread(fd, expected, sizeof expected, 0);
  bool good = true;
  if (size > 0) {
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
    io_uring_prep_read(sqe, fd, found, static_cast<unsigned>(size), 0);
    io_uring_sqe_set_data64(sqe, 43);
    io_uring_cqe cqe;
    good = next_completion(ring, calls, cqe, refusal) &&
           ((cqe.res == size && cqe.user_data == 43 &&
             std::memcmp(expected, found, static_cast<std::size_t>(size)) == 0) ||
            broken(refusal, "READ of /proc/self/exe", cqe.res));
  }
  ::close(fd);
  return good;
}

bool has_features(const io_uring& ring, ring_refusal& refusal) noexcept {
  for (const named_feature& feature : needed_features)
    if ((ring.features & feature.bit) == 0)
      return refuse(refusal, ENOTSUP, "the kernel's io_uring lacks the feature %s", feature.name);
  return true;
}

bool has_operations(io_uring& ring, ring_refusal& refusal) noexcept {
  io_uring_probe* const probe = io_uring_get_probe_ring(&ring);
  if (probe == nullptr) return refuse(refusal, ENOTSUP, "the kernel's io_uring does not tell its operations");
  const char* missing = nullptr;
  for (const named_operation& operation : needed_operations)
    if (missing == nullptr && !io_uring_opcode_supported(probe, operation.code)) missing = operation.name;
  io_uring_free_probe(probe);
  return missing == nullptr || refuse(refusal, ENOTSUP, "the kernel's io_uring lacks the operation %s", missing);
}

}  // namespace

const ring_calls kernel_calls{[](unsigned entries, io_uring* ring, io_uring_params* how) {
                                return io_uring_queue_init_params(entries, ring, how);
                              },
                              [](io_uring* ring, unsigned wait_for) {
                                return wait_for != 0 ? io_uring_submit_and_wait(ring, wait_for)
                                                     : io_uring_submit_and_get_events(ring);
                              },
                              [] {
                                const timespec moment{0, 100'000};
                                nanosleep(&moment, nullptr);
                              }};

bool open_ring(io_uring& ring, const ring_calls& calls, const ring_limits& limits, ring_shape& shape,
               ring_refusal& refusal) noexcept {
  int result = -EINVAL;
  for (const ring_shape& step : ladder) {
    io_uring_params how{};
    how.flags = step.flags;
    how.cq_entries = limits.completions;
    result = calls.setup(limits.entries, &ring, &how);
    shape = step;
    if (result != -EINVAL) break;
  }
  if (result != 0) return refuse_setup(refusal, -result);
  if (!has_features(ring, refusal) || !has_operations(ring, refusal) || !completes_a_nop(ring, calls, refusal) ||
      !reads_a_file(ring, calls, refusal)) {
    io_uring_queue_exit(&ring);
    return false;
  }
  io_uring_ring_dontfork(&ring);
  // Else the kernel may start a worker per blocked operation, by the hundred. Refused before 5.15: as it is, then.
  unsigned workers[2] = {std::max(4U, static_cast<unsigned>(sched.procs.load(std::memory_order_relaxed))), 16};
  io_uring_register_iowq_max_workers(&ring, workers);
  io_uring_register_ring_fd(&ring);  // one look-up less for each call; refused before 5.18
  return true;
}

}  // namespace weft::rt
