// SPDX-License-Identifier: Apache-2.0
//
// What the process writes to stderr, as an event: `read_until` returns once the text has come. For messages of the
// monitor's thread, which no call of the test returns after.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

namespace weft_test {

class captured_stderr {
 public:
  captured_stderr() : former_(dup(STDERR_FILENO)) {
    int ends[2];
    if (former_ < 0 || pipe2(ends, O_CLOEXEC) != 0 || dup2(ends[1], STDERR_FILENO) < 0) std::abort();
    close(ends[1]);
    from_ = ends[0];
  }
  ~captured_stderr() {
    dup2(former_, STDERR_FILENO);
    close(former_);
    close(from_);
  }
  captured_stderr(const captured_stderr&) = delete;
  captured_stderr& operator=(const captured_stderr&) = delete;

  /// Everything from the start up to `text`, at least. Blocks the thread.
  const std::string& read_until(std::string_view text) {
    while (seen_.find(text) == std::string::npos) {
      char chunk[4096];
      const ssize_t size = read(from_, chunk, sizeof chunk);
      if (size > 0) seen_.append(chunk, static_cast<std::size_t>(size));
    }
    return seen_;
  }

  /// Everything that has been written so far. Does not block.
  const std::string& read_all() {
    for (pollfd waiting{from_, POLLIN, 0}; poll(&waiting, 1, 0) == 1;) {
      char chunk[4096];
      const ssize_t size = read(from_, chunk, sizeof chunk);
      if (size > 0) seen_.append(chunk, static_cast<std::size_t>(size));
    }
    return seen_;
  }

 private:
  int former_;
  int from_ = -1;
  std::string seen_;
};

}  // namespace weft_test
