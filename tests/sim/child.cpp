// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/child.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace sim {

namespace {

// Of one run, in case it hangs where there are no steps: of CPU time, and on the clock.
constexpr rlim_t cpu_seconds_at_most = 30;
constexpr unsigned seconds_at_most = 600;

outcome* shared = nullptr;  ///< with the child
int report = -1;            ///< what a child says

[[noreturn]] void play(const program& p, const plan& how, unsigned decisions) noexcept {
  const rlimit cpu{cpu_seconds_at_most, cpu_seconds_at_most};
  setrlimit(RLIMIT_CPU, &cpu);
  alarm(seconds_at_most);
  std::signal(SIGABRT, [](int) { fail("aborted"); });
  if (dup2(report, STDERR_FILENO) < 0) _exit(2);
  const instant slack = how.slack();
  const bounds& b = p.allowed;
  allowed = {.ready = b.ready + slack,
             .ready_beside_idle = b.ready_beside_idle + slack,
             .overdue = b.overdue + slack,
             .stack = b.stack + slack,
             .edge = b.edge + slack,
             .edge_beside_idle = b.edge_beside_idle + slack};
  run_here(how, p.name, p.run, decisions, *shared);
  _exit(0);
}

}  // namespace

bool prepare_children() noexcept {
  void* const page = mmap(nullptr, sizeof(outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return false;
  shared = static_cast<outcome*>(page);
  report = memfd_create("report", MFD_CLOEXEC);
  return report >= 0;
}

verdict run_in_child(const program& p, const plan& how, unsigned decisions) noexcept {
  verdict result;
  std::memset(shared, 0, sizeof *shared);
  if (ftruncate(report, 0) != 0 || lseek(report, 0, SEEK_SET) < 0) return result;
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) return result;
  if (child == 0) play(p, how, decisions);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.passed = status == 0;
  result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  result.seen = *shared;
  return result;
}

void print_report() noexcept {
  char text[4096];
  lseek(report, 0, SEEK_SET);
  for (ssize_t n; (n = read(report, text, sizeof text)) > 0;) std::fwrite(text, 1, static_cast<std::size_t>(n), stdout);
}

}  // namespace sim
