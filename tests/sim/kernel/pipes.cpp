// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/kernel/pipes.hpp"

#include <algorithm>
#include <deque>

#include "tests/sim/kernel/file.hpp"
#include "tests/sim/kernel/troubles.hpp"

namespace sim::kernel {

namespace {

struct pipe_buffer {
  std::deque<char> bytes;
  std::size_t most = trouble().buffer;
  file *reader = nullptr, *writer = nullptr;  // null: closed
};

struct reading_end : file {
  explicit reading_end(pipe_buffer* of) noexcept : b(of) { b->reader = this; }
  pipe_buffer* const b;

  mode_t format() const noexcept override { return S_IFIFO; }
  std::uint32_t state() noexcept override {
    return (b->bytes.empty() ? 0u : EPOLLIN | EPOLLRDNORM) | (b->writer == nullptr ? EPOLLHUP : 0u);
  }
  ssize_t take(char* to, std::size_t n) noexcept override {
    if (n == 0) return 0;
    if (b->bytes.empty()) return b->writer == nullptr ? 0 : -EAGAIN;
    const bool was_full = b->bytes.size() >= b->most;
    n = std::min(n, b->bytes.size());
    std::copy_n(b->bytes.begin(), n, to);
    b->bytes.erase(b->bytes.begin(), b->bytes.begin() + static_cast<std::ptrdiff_t>(n));
    if (was_full && b->writer != nullptr) notify(b->writer, EPOLLOUT | EPOLLWRNORM);
    return static_cast<ssize_t>(n);
  }
  ssize_t put(const char*, std::size_t) noexcept override { return -EBADF; }
  void release() noexcept override {
    b->reader = nullptr;
    if (b->writer != nullptr) notify(b->writer, 0);
  }
};

struct writing_end : file {
  explicit writing_end(pipe_buffer* of) noexcept : b(of) { b->writer = this; }
  pipe_buffer* const b;

  mode_t format() const noexcept override { return S_IFIFO; }
  std::uint32_t state() noexcept override {
    return (b->bytes.size() < b->most ? EPOLLOUT | EPOLLWRNORM : 0u) | (b->reader == nullptr ? EPOLLERR : 0u);
  }
  ssize_t take(char*, std::size_t) noexcept override { return -EBADF; }
  ssize_t put(const char* from, std::size_t n) noexcept override {
    if (n == 0) return 0;
    if (b->reader == nullptr) return -EPIPE;
    const std::size_t some = std::min(n, b->most - b->bytes.size());
    if (some == 0) return -EAGAIN;
    b->bytes.insert(b->bytes.end(), from, from + some);
    notify(b->reader, EPOLLIN | EPOLLRDNORM);
    return static_cast<ssize_t>(some);
  }
  void release() noexcept override {
    b->writer = nullptr;
    if (b->reader != nullptr) notify(b->reader, 0);
  }
};

}  // namespace

pipe_ends new_pipe() {
  auto* const b = new pipe_buffer;
  return {new reading_end(b), new writing_end(b)};
}

}  // namespace sim::kernel
