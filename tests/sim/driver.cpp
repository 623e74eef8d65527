// SPDX-License-Identifier: Apache-2.0
// Runs the programs under seeds, each run in a child process.
//
//   sim [--seconds N] [--program NAME,..]       new seeds for so long; WEFT_SIM_SECONDS, or 180, if nothing is said
//   sim --seeds FROM COUNT [--program NAME,..]  these seeds, all programs or some
//   sim --again FILE                           "SEED PROGRAM" lines; the rest of a line is a comment
//   sim --replay SEED PROGRAM                  one run, with the last 200 switches if it fails
//   sim --list                                 the programs
//   sim --self-test                            whether it finds faults at all (selftest.hpp)
// With --worst: a table of how late things were at worst, per program. --failures N: it ends after so many, 5 if
// nothing is said.
//
// A seed is a run (child.hpp), so nothing is allocated here once the first child has started, and the environment's
// weft variables are gone.
#include <fcntl.h>
#include <sys/personality.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/sim/child.hpp"
#include "tests/sim/programs.hpp"
#include "tests/sim/selftest.hpp"

namespace sim {

namespace {

constexpr unsigned most_programs = 256;

struct summary {
  std::uint64_t runs = 0, steps = 0;
  unsigned failures = 0;
  worst_seen in_time, with_faults;
};

struct settings {
  std::uint64_t from = 1, count = 0;
  double seconds = 0;
  bool chosen[most_programs]{};
  bool all = true;
  const program* only = nullptr;  ///< to replay
  const char* file = nullptr;
  unsigned most_failures = 5;
  bool replay = false, worst = false, self_test = false;
};

summary sums[most_programs];
double seconds_now() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

void add_to(summary& s, const outcome& seen, const plan& how) noexcept {
  ++s.runs;
  s.steps += seen.steps;
  worst_seen& all = how.in_time() ? s.in_time : s.with_faults;
  const worst_seen& one = seen.worst;
  all = {std::max(all.ready, one.ready), std::max(all.ready_beside_idle, one.ready_beside_idle),
         std::max(all.overdue, one.overdue), std::max(all.edge, one.edge),
         std::max(all.edge_beside_idle, one.edge_beside_idle)};
}

// True if it ended well.
bool run_one(const program& p, std::uint64_t seed, const settings& how) {
  const plan planned = plan_of(seed);
  const verdict v = run_in_child(p, planned, how.replay ? 200 : 30);
  summary& s = sums[&p - programs().data()];
  add_to(s, v.seen, planned);
  if (v.passed) return true;
  ++s.failures;
  std::printf("FAILED: %s, seed %llu: %s", p.name, static_cast<unsigned long long>(seed), v.seen.failure);
  if (v.signal != 0) std::printf(" (signal %d)", v.signal);
  std::printf("\n");
  print_report();
  std::fflush(stdout);
  return false;
}

void print_summary(const settings& how, double took) {
  std::uint64_t runs = 0, steps = 0;
  unsigned failures = 0;
  for (const summary& s : sums) {
    runs += s.runs;
    steps += s.steps;
    failures += s.failures;
  }
  if (how.worst) {
    std::printf("%-34s %6s %9s  with seeds in time, and others: ready, beside an idle P; overdue; edge, ..., ms\n",
                "program", "runs", "steps");
    for (const program& p : programs()) {
      const summary& s = sums[&p - programs().data()];
      if (s.runs == 0) continue;
      std::printf("%-34s %6llu %9llu", p.name, static_cast<unsigned long long>(s.runs),
                  static_cast<unsigned long long>(s.steps / s.runs));
      for (const worst_seen& w : {s.in_time, s.with_faults}) {
        std::fputs("  |", stdout);
        for (const instant t : {w.ready, w.ready_beside_idle, w.overdue, w.edge, w.edge_beside_idle})
          std::printf(" %8.3f", static_cast<double>(t) * 1e-6);
      }
      std::putchar('\n');
    }
  }
  std::printf("%llu runs, %llu steps in %.1f s: %u failed\n", static_cast<unsigned long long>(runs),
              static_cast<unsigned long long>(steps), took, failures);
}

// False: too many have failed.
bool run_seed(std::uint64_t seed, const settings& how, unsigned& failures) {
  for (const program& p : programs()) {
    if (!how.all && !how.chosen[&p - programs().data()]) continue;
    if (run_one(p, seed, how)) continue;
    if (++failures >= how.most_failures) return false;
  }
  return true;
}

unsigned run_file(const settings& how) {
  const int file = open(how.file, O_RDONLY | O_CLOEXEC);
  static char text[1 << 16];
  const ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (size < 0) {
    std::printf("cannot read %s: %s\n", how.file, std::strerror(errno));
    return 1;
  }
  unsigned failures = 0;
  for (char* line = text; line != nullptr && *line != '\0';) {
    char* const end = std::strchr(line, '\n');
    if (end != nullptr) *end = '\0';
    unsigned long long seed = 0;
    char name[64];
    if (std::sscanf(line, "%llu %63s", &seed, name) == 2) {
      const program* const p = find_program(name);
      if (p == nullptr || !run_one(*p, seed, how)) ++failures;
      if (p == nullptr) std::printf("no program %s\n", name);
    }
    line = end != nullptr ? end + 1 : nullptr;
  }
  return failures;
}

unsigned run_all(const settings& how) {
  if (how.file != nullptr) return run_file(how);
  unsigned failures = 0;
  if (how.replay) return run_one(*how.only, how.from, how) ? 0 : 1;
  const double begin = seconds_now();
  for (std::uint64_t seed = how.from; how.count == 0 || seed < how.from + how.count; ++seed) {
    if (how.count == 0 && seconds_now() - begin > how.seconds) break;
    if (!run_seed(seed, how, failures)) break;
  }
  return failures;
}

const program* program_or_exit(const char* name) {
  if (name != nullptr)
    if (const program* const p = find_program(name)) return p;
  std::printf("no program %s: see --list\n", name != nullptr ? name : "given");
  std::exit(2);
}

std::uint64_t number(const char* text) { return text != nullptr ? std::strtoull(text, nullptr, 10) : 0; }

// A million seeds a day, from where nobody was before.
void take_new_seeds(settings& how, double seconds) noexcept {
  how.seconds = seconds;
  how.from = static_cast<std::uint64_t>(time(nullptr)) * 1'000;
}

settings settings_from(int argc, char** argv) {
  settings how;
  bool understood = true;
  const std::uint64_t asked_for = number(std::getenv("WEFT_SIM_SECONDS"));
  take_new_seeds(how, asked_for != 0 ? static_cast<double>(asked_for) : 180);
  for (int i = 1; i < argc; ++i) {
    const auto is = [&](const char* name) { return std::strcmp(argv[i], name) == 0; };
    if (is("--seeds") && i + 2 < argc) {
      how.from = number(argv[i + 1]);
      how.count = std::max<std::uint64_t>(1, number(argv[i + 2]));
      i += 2;
    } else if (is("--seconds") && i + 1 < argc) {
      take_new_seeds(how, static_cast<double>(number(argv[++i])));
    } else if (is("--program") && i + 1 < argc) {
      how.all = false;
      for (char* name = std::strtok(argv[++i], ","); name != nullptr; name = std::strtok(nullptr, ","))
        how.chosen[program_or_exit(name) - programs().data()] = true;
    } else if (is("--again") && i + 1 < argc) {
      how.file = argv[++i];
    } else if (is("--replay") && i + 2 < argc) {
      how.from = number(argv[i + 1]);
      how.only = program_or_exit(argv[i + 2]);
      how.count = 1;
      how.replay = true;
      i += 2;
    } else if (is("--self-test")) {
      how.self_test = true;
    } else if (is("--worst")) {
      how.worst = true;
    } else if (is("--failures") && i + 1 < argc) {
      how.most_failures = static_cast<unsigned>(number(argv[++i]));
    } else if (is("--list")) {
      for (const program& p : programs()) std::printf("%s\n", p.name);
      std::exit(0);
    } else {
      understood = false;
      break;
    }
  }
  if (understood) return how;
  std::puts(
      "sim [--seconds N] | --seeds FROM COUNT | --again FILE | --replay SEED PROGRAM | --list | --self-test\n"
      "    [--program NAME,...] [--worst] [--failures N]");
  std::exit(2);
}

// What a run is told by its surroundings is always the same.
void take_no_notice(char** argv) {
  std::signal(SIGQUIT, SIG_DFL);  // a shell in the background has it ignored, and run() asks
  for (const char* name : {"WEFT_MAXPROCS", "WEFT_STACK_SIZE", "WEFT_DEBUG"}) unsetenv(name);
  setenv("WEFT_NETPOLL", "epoll", 1);
  const int now = personality(0xffffffff);
  if (now < 0 || (now & ADDR_NO_RANDOMIZE) != 0) return;
  if (personality(static_cast<unsigned long>(now) | ADDR_NO_RANDOMIZE) < 0) return;
  execv("/proc/self/exe", argv);
}

}  // namespace

}  // namespace sim

int main(int argc, char** argv) {
  using namespace sim;
  take_no_notice(argv);
  const settings how = settings_from(argc, argv);
  if (!prepare_children() || programs().size() > most_programs) {
    std::perror("sim");
    return 2;
  }
  static char buffer[1 << 16];
  std::setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
  if (how.self_test) return self_test() ? 0 : 1;
  if (how.count == 0 && how.file == nullptr)
    std::printf("seeds from %llu on\n", static_cast<unsigned long long>(how.from));
  const double begin = seconds_now();
  const unsigned failures = run_all(how);
  print_summary(how, seconds_now() - begin);
  return failures == 0 ? 0 : 1;
}
