// SPDX-License-Identifier: Apache-2.0
//
// How many CPUs this process may use: the affinity mask says on which it may run, a cgroup quota for how much of the
// time. In a container with a quota of two CPUs on a machine of 64, 64 Ps would burn the quota in the first
// milliseconds of every period, and then everything stands still until the next.
//
// The quota that binds is the tightest one *of any ancestor*: an orchestrator often sets it on the parent of the
// container's own cgroup. Both cgroup versions are read (v2 `cpu.max`; v1 `cpu.cfs_quota_us` over `cpu.cfs_period_us`),
// and where both are mounted both count. It is rounded up: with 1.5 CPUs, one P would leave half a CPU unused. It is at
// least 1.
//
// Whatever cannot be read counts as no limit, silently: a container that hides /proc must still start.
//
// Known limit: the cgroup is found once, when the watch is made. A process that is moved to another one later goes on
// following the quota of the former; a changed quota and a changed mask are followed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft::rt {

/// cpu_width_roots says where to look; tests point it at a fabricated tree.
struct cpu_width_roots {
  std::string proc = "/proc";  ///< Holds `self/cgroup` and `self/mountinfo`.
  std::string mount_prefix;    ///< Put before each mount point that mountinfo names.
};

/// cpu_width_watch finds the files that limit this process, keeps them open, and reads them again when asked to.
///
/// Reading is one `pread` a file (two or three per level of the cgroup tree) and one `sched_getaffinity`, without
/// allocation: cheap enough for once a second. Not synchronised: one thread at a time, the monitor.
class cpu_width_watch {
 public:
  explicit cpu_width_watch(const cpu_width_roots& roots = {});

  /// width returns the number of CPUs this process may use now, 1 to `max_width`.
  ///
  /// The affinity mask is the calling thread's. The monitor's follows cpusets and `taskset -a`, and a fiber that pins
  /// the thread it runs on does not narrow it.
  int width() const noexcept;

  /// quota_width returns the tightest quota rounded up to whole CPUs, at least 1, or nothing where there is none.
  std::optional<std::uint64_t> quota_width() const noexcept;

  /// nr_throttled returns in how many periods a cgroup of ours was throttled since the last call, or since the watch
  /// was made.
  std::uint64_t nr_throttled() noexcept;

 private:
  // An open file, or none: where there is no such file, reading it gives no text.
  class file {
   public:
    file() = default;
    explicit file(const std::string& path) noexcept;
    file(file&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    file& operator=(file&& other) noexcept {
      std::swap(descriptor_, other.descriptor_);
      return *this;
    }
    ~file();
    explicit operator bool() const noexcept { return descriptor_ >= 0; }
    std::string_view read_again(std::span<char> buffer) const noexcept;

   private:
    int descriptor_ = -1;
  };

  // One cgroup: ours, or one above it.
  struct level {
    file quota;   // v2: cpu.max, which holds both; v1: cpu.cfs_quota_us
    file period;  // v1 only: cpu.cfs_period_us
    file stat;    // cpu.stat
    std::uint64_t throttled = 0;
  };

  void open_level(const std::string& directory, bool unified);
  static std::optional<std::uint64_t> level_width(const level& one) noexcept;
  static std::optional<std::uint64_t> throttled_periods(const level& one) noexcept;

  std::vector<level> levels_;
};

/// cpu_width returns what a fresh watch reads: the CPUs this process may use, 1 to `max_width`.
int cpu_width(const cpu_width_roots& roots = {});

}  // namespace weft::rt
