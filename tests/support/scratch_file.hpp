// SPDX-License-Identifier: Apache-2.0
//
// A file that goes with the test.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace weft_test {

class scratch_file {
 public:
  explicit scratch_file(std::string_view content = "", const std::string& folder = "/tmp")
      : path_(folder + "/weft_test_XXXXXX") {
    const int fd = mkstemp(path_.data());
    if (fd < 0) std::abort();
    while (!content.empty()) {
      const ssize_t n = ::write(fd, content.data(), content.size());
      if (n <= 0) std::abort();
      content.remove_prefix(static_cast<std::size_t>(n));
    }
    ::close(fd);
  }
  ~scratch_file() { ::unlink(path_.c_str()); }
  scratch_file(const scratch_file&) = delete;
  scratch_file& operator=(const scratch_file&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// `size` characters of which each stretch of eight differs from every other.
inline std::string numbered(std::size_t size) {
  std::string text;
  text.reserve(size + 16);
  for (std::size_t i = 0; text.size() < size; ++i) {
    char piece[17];
    std::snprintf(piece, sizeof piece, "%07zx\n", i);
    text += piece;
  }
  text.resize(size);
  return text;
}

}  // namespace weft_test
