// SPDX-License-Identifier: Apache-2.0
//
// What every benchmark program here shares: one command line, one line of output a row, one process a row.
//
//   NAME_bench [--w N] [--quick] [ROW...]      prints    row w value unit
//
// Invariants:
// - Each row runs in a child process forked while this one has a single thread: a row never sees another's warm pools,
//   freed pages or idle threads, and memory rows start from a clean resident set.
// - measure() runs the work once to warm stacks, slabs and malloc's arenas, then five times, and keeps the median: a
//   burst of steal time on a shared machine then costs one repetition, not the figure.
// - Nothing here includes weft, so the peers written in C++ are timed by the very same code.
#pragma once

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

inline std::int64_t read_clock(clockid_t which) {
  timespec now{};
  ::clock_gettime(which, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

inline std::int64_t now_ns() { return read_clock(CLOCK_MONOTONIC); }

/// CPU time of all threads of this process so far, in nanoseconds.
inline std::int64_t cpu_ns() { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

template <class T>
T percentile(std::vector<T> values, double fraction) {
  if (values.empty()) return T{};
  const auto index = static_cast<std::ptrdiff_t>(fraction * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + index, values.end());
  return values[static_cast<std::size_t>(index)];
}

/// One run of one row: how many Ps or worker threads it is to use, and where its figures go.
struct context {
  std::string row;
  int w = 1;
  bool quick = false;

  /// `full` operations, or a tenth of them under --quick.
  long scale(long full) const { return quick ? std::max(1L, full / 10) : full; }

  void report(std::string_view name, double value, std::string_view unit) const {
    std::printf("%.*s %d %.6g %.*s\n", static_cast<int>(name.size()), name.data(), w, value,
                static_cast<int>(unit.size()), unit.data());
    std::fflush(stdout);
  }

  /// Runs `work`, which does `operations` operations, and reports the median time of one in nanoseconds.
  template <class Work>
  void measure(long operations, Work work) const {
    report(row, median_ns(work) / static_cast<double>(operations), "ns");
  }

  /// The same, reporting the whole of `work` in milliseconds.
  template <class Work>
  void measure_ms(Work work) const {
    report(row, median_ns(work) / 1e6, "ms");
  }

 private:
  template <class Work>
  double median_ns(Work& work) const {
    work();
    std::vector<double> times;
    for (int i = 0; i < 5; ++i) {
      const auto start = now_ns();
      work();
      times.push_back(static_cast<double>(now_ns() - start));
    }
    return percentile(times, 0.5);
  }
};

struct row {
  std::string name;
  std::vector<int> widths;
  std::function<void(const context&)> body;
};

/// What this process holds at the moment: resident bytes (exact, from smaps_rollup), page tables, mappings.
struct memory {
  long resident_bytes = 0;
  long page_table_bytes = 0;
  long mappings = 0;

  static memory now() {
    memory result;
    result.resident_bytes = field_kib("/proc/self/smaps_rollup", "Rss:") * 1024;
    result.page_table_bytes = field_kib("/proc/self/status", "VmPTE:") * 1024;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) ++result.mappings;
    return result;
  }

  long total() const { return resident_bytes + page_table_bytes; }

 private:
  static long field_kib(const char* path, std::string_view key) {
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);)
      if (line.starts_with(key)) return std::atol(line.c_str() + key.size());
    return 0;
  }
};

/// Parses the command line, runs the rows asked for (all, at each of their widths, if none is named).
inline int main(int argc, char** argv, const std::vector<row>& rows) {
  int width = 0;
  bool quick = false;
  std::vector<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--w" && i + 1 < argc) {
      width = std::atoi(argv[++i]);
    } else if (argument == "--quick") {
      quick = true;
    } else if (argument == "--list") {
      for (const auto& each : rows) std::printf("%s\n", each.name.c_str());
      return 0;
    } else {
      const bool known = std::any_of(rows.begin(), rows.end(), [&](const row& each) { return each.name == argument; });
      if (!known) {
        std::fprintf(stderr, "%s: '%s' is no row of this program; --list names them\n", argv[0], argv[i]);
        return 2;
      }
      wanted.emplace_back(argument);
    }
  }
  int status = 0;
  for (const auto& each : rows) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), each.name) == wanted.end()) continue;
    for (int w : each.widths) {
      if (width != 0 && w != width) continue;
      std::fflush(stdout);
      const pid_t child = ::fork();
      if (child < 0) {
        std::perror("fork");
        return 1;
      }
      if (child == 0) {
        try {
          each.body({each.name, w, quick});
          std::fflush(stdout);
          ::_exit(0);
        } catch (const std::exception& error) {
          std::fprintf(stderr, "%s: %s at w=%d: %s\n", argv[0], each.name.c_str(), w, error.what());
          ::_exit(1);
        }
      }
      int ended = 0;
      ::waitpid(child, &ended, 0);
      if (ended != 0) {
        std::fprintf(stderr, "%s: row %s at w=%d did not finish (wait status %d)\n", argv[0], each.name.c_str(), w,
                     ended);
        status = 1;
      }
    }
  }
  return status;
}

}  // namespace bench
