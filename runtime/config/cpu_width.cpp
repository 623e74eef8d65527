// SPDX-License-Identifier: Apache-2.0
//
// From "which cgroup am I in" to open files. /proc/self/cgroup gives a path per hierarchy; /proc/self/mountinfo says
// where each hierarchy is mounted and which of its directories is the root of that mount. In a container that root is
// often the container's own cgroup, and the path begins with it (in a cgroup namespace both are "/"). The directory is
//   mount point + (path without mount root)
// and its ancestors, up to the mount point itself, are the cgroups whose quota binds us as well.
//
// No exceptions of its own: a file that is missing, empty or malformed is skipped.

#include "runtime/config/cpu_width.hpp"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <string_view>
#include <utility>

#include "runtime/base/limits.hpp"
#include "runtime/config/options.hpp"

namespace weft::rt {
namespace {

// Holds any cgroup file that is read here; the longest, cpu.stat, has about 20 short lines.
constexpr std::size_t longest_file = 4096;

int open_for_reading(const std::string& path) noexcept {
  int file = -1;
  do {
    file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  } while (file < 0 && errno == EINTR);
  return file;
}

std::string read_whole(const std::string& path) {
  std::string text;
  const int file = open_for_reading(path);
  if (file < 0) return text;
  char buffer[4096];
  for (;;) {
    const ssize_t count = ::read(file, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(buffer, static_cast<std::size_t>(count));
  }
  ::close(file);
  return text;
}

// Cuts `text` at the first `separator` and returns what stood before it; without one, all of it.
std::string_view next_field(std::string_view& text, char separator) noexcept {
  const std::size_t end = text.find(separator);
  const std::string_view field = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return field;
}

bool has_word(std::string_view list, std::string_view word) noexcept {
  while (!list.empty()) {
    if (next_field(list, ',') == word) return true;
  }
  return false;
}

// "-1" and "max", which both mean no limit, are not numbers here.
std::optional<std::uint64_t> leading_number(std::string_view text) noexcept {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool ends_there = end == text.data() + text.size() || *end == '\n' || *end == ' ';
  if (error != std::errc{} || !ends_there) return std::nullopt;
  return number;
}

// mountinfo writes space, tab, newline and backslash as a backslash and three octal digits.
std::string unescape(std::string_view field) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string text;
  for (std::size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size() && octal(field[i + 1]) && octal(field[i + 2]) && octal(field[i + 3])) {
      text.push_back(static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 + (field[i + 3] - '0')));
      i += 3;
    } else {
      text.push_back(field[i]);
    }
  }
  return text;
}

// The part of `path` below `root`, empty or beginning with '/'; nothing if it is not below it. A ".." left in it names
// a cgroup outside of our namespace, which no mount of ours shows.
std::optional<std::string> below(std::string_view path, std::string_view root) {
  if (root == "/") root = {};
  if (path == "/") path = {};
  if (path.substr(0, root.size()) != root) return std::nullopt;
  path.remove_prefix(root.size());
  if (!path.empty() && path.front() != '/') return std::nullopt;
  if ((std::string(path) + '/').find("/../") != std::string::npos) return std::nullopt;
  return std::string(path);
}

struct cgroup_directory {
  std::string mount_point;
  std::string relative;
};

// Of the mounts of the hierarchy that show `path`, the one that shows most of its ancestors.
std::optional<cgroup_directory> find_directory(std::string_view mountinfo, std::string_view path, bool unified) {
  std::optional<cgroup_directory> best;
  while (!mountinfo.empty()) {
    // id parent major:minor root mount-point options [optional fields ...] - type source super-options
    std::string_view line = next_field(mountinfo, '\n');
    const std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    std::string_view tail = line.substr(dash + 3);
    const std::string_view type = next_field(tail, ' ');
    next_field(tail, ' ');
    if (unified ? type != "cgroup2" : type != "cgroup" || !has_word(tail, "cpu")) continue;

    std::string_view head = line.substr(0, dash);
    for (int skipped = 0; skipped < 3; ++skipped) next_field(head, ' ');
    const std::string root = unescape(next_field(head, ' '));
    const std::string mount_point = unescape(next_field(head, ' '));
    auto relative = below(path, root);
    if (relative && (!best || relative->size() > best->relative.size())) {
      best = cgroup_directory{mount_point, std::move(*relative)};
    }
  }
  return best;
}

// As wide as any kernel's mask: one that is shorter than the kernel's makes the call fail.
struct affinity_mask {
  unsigned long words[8192 / (8 * sizeof(unsigned long))];
};

std::uint64_t affinity_width() noexcept {
  affinity_mask mask{};
  auto* set = reinterpret_cast<cpu_set_t*>(&mask);
  if (::sched_getaffinity(0, sizeof mask, set) == 0) {
    const int count = CPU_COUNT_S(sizeof mask, set);
    if (count > 0) return static_cast<std::uint64_t>(count);
  }
  const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? static_cast<std::uint64_t>(online) : 1;
}

}  // namespace

cpu_width_watch::cpu_width_watch(const cpu_width_roots& roots) {
  const std::string cgroups = read_whole(roots.proc + "/self/cgroup");
  if (cgroups.empty()) return;
  const std::string mountinfo = read_whole(roots.proc + "/self/mountinfo");

  std::string_view rest = cgroups;
  while (!rest.empty()) {
    // hierarchy:controllers:path, where the path may hold colons; 0 and no controllers: the unified hierarchy of v2
    std::string_view path = next_field(rest, '\n');
    const std::string_view hierarchy = next_field(path, ':');
    const std::string_view controllers = next_field(path, ':');
    const bool unified = hierarchy == "0" && controllers.empty();
    if (path.empty() || (!unified && !has_word(controllers, "cpu"))) continue;

    const auto directory = find_directory(mountinfo, path, unified);
    if (!directory) continue;
    std::string relative = directory->relative;
    for (;;) {
      open_level(roots.mount_prefix + directory->mount_point + relative, unified);
      const std::size_t slash = relative.rfind('/');
      if (slash == std::string::npos) break;
      relative.resize(slash);
    }
  }
}

cpu_width_watch::file::file(const std::string& path) noexcept : descriptor_(open_for_reading(path)) {}

cpu_width_watch::file::~file() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::string_view cpu_width_watch::file::read_again(std::span<char> buffer) const noexcept {
  if (descriptor_ < 0) return {};
  ssize_t count = -1;
  do {
    count = ::pread(descriptor_, buffer.data(), buffer.size(), 0);
  } while (count < 0 && errno == EINTR);
  return count > 0 ? std::string_view(buffer.data(), static_cast<std::size_t>(count)) : std::string_view();
}

void cpu_width_watch::open_level(const std::string& directory, bool unified) {
  level one;
  one.quota = file(directory + (unified ? "/cpu.max" : "/cpu.cfs_quota_us"));
  if (!one.quota) return;
  if (!unified) one.period = file(directory + "/cpu.cfs_period_us");
  one.stat = file(directory + "/cpu.stat");
  one.throttled = throttled_periods(one).value_or(0);
  levels_.push_back(std::move(one));
}

std::optional<std::uint64_t> cpu_width_watch::level_width(const level& one) noexcept {
  char buffer[longest_file];
  std::string_view text = one.quota.read_again(buffer);
  const auto quota = leading_number(text);
  if (!quota) return std::nullopt;
  std::optional<std::uint64_t> period;
  if (one.period) {
    period = leading_number(one.period.read_again(buffer));
  } else {
    next_field(text, ' ');
    period = leading_number(text);
  }
  if (!period || *period == 0) return std::nullopt;
  return *quota / *period + (*quota % *period != 0 ? 1 : 0);
}

std::optional<std::uint64_t> cpu_width_watch::throttled_periods(const level& one) noexcept {
  char buffer[longest_file];
  std::string_view text = one.stat.read_again(buffer);
  while (!text.empty()) {
    std::string_view line = next_field(text, '\n');
    if (next_field(line, ' ') == "nr_throttled") return leading_number(line);
  }
  return std::nullopt;
}

std::optional<std::uint64_t> cpu_width_watch::quota_width() const noexcept {
  std::optional<std::uint64_t> tightest;
  for (const level& one : levels_) {
    const auto here = level_width(one);
    if (here && (!tightest || *here < *tightest)) tightest = here;
  }
  if (tightest) *tightest = std::max<std::uint64_t>(*tightest, 1);
  return tightest;
}

int cpu_width_watch::width() const noexcept {
  std::uint64_t cpus = std::min<std::uint64_t>(affinity_width(), max_width);
  if (const auto quota = quota_width()) cpus = std::min(cpus, *quota);
  return static_cast<int>(cpus);
}

std::uint64_t cpu_width_watch::nr_throttled() noexcept {
  std::uint64_t since = 0;
  for (level& one : levels_) {
    const auto now = throttled_periods(one);
    if (!now) continue;
    // The count restarts when the controller is switched off and on; that must not wrap the sum.
    if (*now > one.throttled) since += *now - one.throttled;
    one.throttled = *now;
  }
  return since;
}

int cpu_width(const cpu_width_roots& roots) { return cpu_width_watch(roots).width(); }

}  // namespace weft::rt
