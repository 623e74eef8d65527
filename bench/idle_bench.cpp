// SPDX-License-Identifier: Apache-2.0
//
// An idle process must sleep: a runtime whose only fiber waits for a timer an hour away, watched from outside. The
// figure is the context switches of all its threads, voluntary or not, a second; the watcher's own do not count, which
// is why the runtime lives in a child process.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/weft.hpp>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "bench/harness.hpp"

namespace {

using namespace std::chrono_literals;

long context_switches(pid_t process) {
  long total = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);)
      for (std::string_view key : {"voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"})
        if (line.starts_with(key)) total += std::atol(line.c_str() + key.size());
  }
  return total;
}

void idle(const bench::context& c) {
  const pid_t sleeper = ::fork();
  if (sleeper < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (sleeper == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    weft::run({.maxprocs = c.w}, [] { weft::sleep_for(1h); });
    ::_exit(0);
  }
  std::this_thread::sleep_for(500ms);  // threads that started for nothing end, and are not what is asked
  const auto start = bench::now_ns();
  const long before = context_switches(sleeper);
  std::this_thread::sleep_for(c.quick ? 2s : 10s);
  const long after = context_switches(sleeper);
  const double seconds = static_cast<double>(bench::now_ns() - start) / 1e9;
  if (::waitpid(sleeper, nullptr, WNOHANG) != 0) throw std::runtime_error("idle: the sleeping process ended by itself");
  c.report(c.row, static_cast<double>(after - before) / seconds, "/s");
  ::kill(sleeper, SIGKILL);
  ::waitpid(sleeper, nullptr, 0);
}

}  // namespace

int main(int argc, char** argv) { return bench::main(argc, argv, {{"idle_switches", {2}, idle}}); }
