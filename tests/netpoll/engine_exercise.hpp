// SPDX-License-Identifier: Apache-2.0
//
// The same work for every engine that performs operations on files.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <weft/weft.hpp>

#include "netpoll/file_engine.hpp"
#include "tests/support/scratch_file.hpp"

namespace weft_test {

/// Fibers that write and read numbers of their own by the engine; returns how many found what they should.
inline int exercise(weft::rt::file_engine& engine, int fibers, int rounds) {
  using weft::rt::file_action;
  using weft::rt::file_op;
  const scratch_file on_disk;
  const int fd = open(on_disk.path().c_str(), O_RDWR | O_CLOEXEC);
  std::atomic<int> good{0};
  weft::scope s;
  for (int i = 0; i < fibers; ++i)
    s.go([&, i] {
      bool all = true;
      for (int r = 0; r < rounds; ++r) {
        char mine[32], back[32];
        std::snprintf(mine, sizeof mine, "%015d%015d", i, r);
        const auto at = static_cast<std::uint64_t>(i) * sizeof mine;
        file_op write(file_action::write, fd, mine, sizeof mine, at);
        perform(engine, write);
        file_op read(file_action::read, fd, back, sizeof back, at);
        perform(engine, read);
        all = all && write.error == 0 && write.done == sizeof mine && read.error == 0 && read.done == sizeof back &&
              std::memcmp(mine, back, sizeof mine) == 0;
      }
      file_op sync(file_action::sync, fd, nullptr, 0, 0);
      perform(engine, sync);
      good.fetch_add(all && sync.error == 0);
    });
  s.join();
  close(fd);
  return good.load();
}

}  // namespace weft_test
