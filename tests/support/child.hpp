// SPDX-License-Identifier: Apache-2.0
//
// A test's body in a process of its own: for what cannot be undone (a system call filter, a variable, a limit) and for
// what ends the process. The parent must have no other threads when it forks.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>

namespace weft_test {

struct child_end {
  int exit_code = -1;  ///< -1: it did not exit
  int signal = 0;
  std::string text;  ///< what it wrote on stdout and stderr
};

/// In a child: ends it with code 1 unless it `holds`. GoogleTest's expectations are lost there.
inline void require(bool holds, const char* what, int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "line %d: not so: %s (errno: %s)\n", line, what, std::strerror(errno));
  _exit(1);
}

/// Runs `body` in a child that has `patience` seconds; its result is the exit code. An exception that escapes: code 99.
template <class F>
child_end in_child(F body, unsigned patience = 120) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    dup2(ends[1], 2);
    close(ends[0]);
    close(ends[1]);
    alarm(patience);
    int code = 99;
    try {
      code = body();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "escaped: %s\n", error.what());
    }
    std::fflush(nullptr);
    _exit(code);
  }
  close(ends[1]);
  child_end end;
  char chunk[4096];
  for (;;) {
    const ssize_t n = read(ends[0], chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    end.text.append(chunk, static_cast<std::size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  return end;
}

}  // namespace weft_test
