// SPDX-License-Identifier: Apache-2.0
//
// What files the process has open, for tests that say that none was left behind. Files under /proc and /sys do not
// count: the monitor and the deadlock report read some at moments of their own.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <cstddef>
#include <string>
#include <vector>

namespace weft_test {

/// "NUMBER -> what it is", one for each.
inline std::vector<std::string> open_descriptors() {
  std::vector<std::string> all;
  DIR* const directory = opendir("/proc/self/fd");
  while (const dirent* const entry = readdir(directory)) {
    const std::string number = entry->d_name;
    char what[256];
    const ssize_t n = readlink(("/proc/self/fd/" + number).c_str(), what, sizeof what);
    if (n <= 0) continue;  // "." and "..", or closed meanwhile
    const std::string target(what, static_cast<std::size_t>(n));
    if (target.starts_with("/proc/") || target.starts_with("/sys/")) continue;
    all.push_back(number + " -> " + target);
  }
  closedir(directory);
  return all;
}

}  // namespace weft_test
