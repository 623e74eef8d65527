// SPDX-License-Identifier: Apache-2.0
//
// Files against what happens to the threads of the caller: they block, they end, they fork and exec.

#include <weft/file.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/support/exec_children.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/scratch_file.hpp"
#include "tests/support/stress.hpp"
#include "tests/support/threads.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace weft_test;
using weft::file;

constexpr std::size_t page = 4096;

/// Is in no cache but in the device's.
void evict(const file& f) { posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED); }

// The kernel writes into the stacks of fibers that change threads all the time; the threads come and go.
TEST(file_hazard, buffers_on_stacks_are_filled_whatever_becomes_of_the_threads) {
  weft::run({.maxprocs = 4}, [] {
    constexpr int fibers = 8;
    const std::string pattern = numbered(fibers * page);
    const scratch_file on_disk(pattern);
    std::error_code error;
    auto direct = file::open(on_disk.path(), O_RDONLY | O_DIRECT, error);
    auto f = error ? file::open(on_disk.path(), O_RDWR) : std::move(direct);
    weft::scope s;
    for (int i = 0; i < fibers; ++i)
      s.go([&, i] {
        for (int round = 0; round < scaled(50); ++round) {
          alignas(page) char room[page];
          std::memset(room, '?', sizeof room);
          if (round % 3 == 0) hop();
          const std::size_t at = static_cast<std::size_t>(i) * page;
          ASSERT_EQ(f.read_at(at, std::span(room)), page);
          ASSERT_EQ(pattern.compare(at, page, room, page), 0);
        }
      });
    s.join();
  });
}

// What a plain thread has begun is finished, and each ends right after it.
TEST(file_hazard, threads_that_end_after_their_operation) {
  weft::run([] {
    const std::string pattern = numbered(page);
    const scratch_file on_disk(pattern);
    auto f = file::open(on_disk.path(), O_RDWR);
    for (int round = 0; round < scaled(50); ++round) {
      std::thread reader([&] {
        f.fsync();
        evict(f);
        char room[page];
        EXPECT_EQ(f.read_at(0, std::span(room)), page);
        EXPECT_EQ(pattern.compare(0, page, room, page), 0);
      });
      weft::blocking([&] { reader.join(); });
    }
  });
}

// The thread of a fiber is stuck in the kernel and cannot even be interrupted: a parent of vfork. It is let go by those
// whose reads go on meanwhile, so the test ends only if they do.
TEST(file_hazard, operations_of_others_go_on_while_a_thread_is_stuck_in_the_kernel) {
  if (has_thread_sanitizer) GTEST_SKIP() << "vfork under ThreadSanitizer is fork";
  weft::run({.maxprocs = 2}, [] {
    const std::string pattern = numbered(64 * page);
    const scratch_file on_disk(pattern);
    auto f = file::open(on_disk.path(), O_RDWR);
    f.fsync();  // the engine has been started by now
    for (int round = 0; round < 5; ++round) {
      int let_go[2];
      ASSERT_EQ(pipe2(let_go, O_CLOEXEC), 0);
      std::atomic<bool> stuck{false};
      weft::scope s;
      s.go([&] {
        std::string room(pattern.size(), '?');
        f.read_at(0, std::span<char>(room));  // has used the engine itself
        stuck = true;
        const pid_t child = vfork();
        if (child == 0) {
          char c;
          while (read(let_go[0], &c, 1) < 0) {
          }
          _exit(0);
        }
        int status = 0;
        weft::blocking([&] { waitpid(child, &status, 0); });
      });
      until([&] { return stuck.load(); });
      weft::scope readers;
      for (int i = 0; i < 8; ++i)
        readers.go([&] {
          f.fsync();
          evict(f);
          std::string room(pattern.size(), '?');
          ASSERT_EQ(f.read_at(0, std::span<char>(room)), room.size());
          ASSERT_TRUE(room == pattern);
        });
      readers.join();
      ASSERT_EQ(write(let_go[1], "x", 1), 1);
      s.join();
      close(let_go[0]);
      close(let_go[1]);
    }
  });
}

TEST(file_hazard, operations_go_on_beside_children_that_are_forked_and_exec) {
  weft::run([] {
    const std::string pattern = numbered(16 * page);
    const scratch_file on_disk(pattern);
    auto f = file::open(on_disk.path(), O_RDWR);
    weft_test::beside_children_that_exec([&] {
      f.fsync();
      evict(f);
      std::string room(pattern.size(), '?');
      ASSERT_EQ(f.read_at(0, std::span<char>(room)), room.size());
      ASSERT_TRUE(room == pattern);
    });
  });
}

// The kernel would otherwise write into stacks that are other fibers' by then, or nobody's.
TEST(file_hazard, a_run_that_ends_waits_for_what_has_begun) {
  const std::string pattern = numbered(16 * page);
  const scratch_file on_disk(pattern);
  for (int round = 0; round < scaled(20); ++round) {
    std::atomic<int> begun{0}, ended{0};
    weft::run([&] {
      auto f = std::make_shared<file>(file::open(on_disk.path(), O_RDWR));
      for (int i = 0; i < 16; ++i)
        weft::go([&, f] {
          std::error_code error;
          for (;;) {
            begun.fetch_add(1);
            f->fsync(error);
            ended.fetch_add(1);
            if (error) break;
          }
          EXPECT_EQ(error, std::errc::operation_canceled);
        });
      until([&] { return begun.load() >= 16; });
    });
    EXPECT_EQ(begun.load(), ended.load());
  }
}

// A plain thread that is inside when the run ends gets what it asked for; the next time it is told.
TEST(file_hazard, a_plain_thread_outlives_the_run) {
  const scratch_file on_disk("content");
  for (int round = 0; round < scaled(20); ++round) {
    std::thread other;
    std::atomic<int> done{0};
    weft::run([&] {
      auto f = std::make_shared<file>(file::open(on_disk.path(), O_RDWR));
      other = std::thread([&, f] {
        std::error_code error;
        while (!error) {
          f->fsync(error);
          done.fetch_add(1);
        }
        EXPECT_EQ(error, std::errc::operation_canceled);
      });
      until([&] { return done.load() > 2; });
    });
    other.join();
  }
}

// Objects that outlive a run are closed in the next, by another backend's run, or after the last.
TEST(file_hazard, runs_with_changing_backends_leave_each_other_alone) {
  using weft::netpoll_backend;
  weft::net::tcp_listener kept_door;
  file kept;
  const scratch_file on_disk("content");
  for (int i = 0; i < 12; ++i) {
    constexpr netpoll_backend backends[] = {netpoll_backend::automatic, netpoll_backend::epoll,
                                            netpoll_backend::io_uring};
    try {
      weft::run({.netpoll = backends[i % 3]}, [&] {
        if (kept_door) {  // of the run before, with another backend
          weft::scope s;
          s.go([&] { static_cast<void>(weft::net::connect(kept_door.local_endpoint().to_string())); });
          EXPECT_TRUE(kept_door.accept().has_value());
          s.join();
          kept.fsync();
        }
        kept_door = weft::net::listen("127.0.0.1:0");
        kept = file::open(on_disk.path(), O_RDWR);
        kept.fsync();
      });
    } catch (const std::system_error&) {
      EXPECT_EQ(backends[i % 3], netpoll_backend::io_uring) << "only that may be refused";
    }
  }
}

// Nobody is at the other end, and nobody may ever come.
TEST(file_hazard, the_open_of_a_fifo_waits_for_nobody) {
  const std::string path = "/tmp/weft-fifo-" + std::to_string(getpid());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  weft::run({.maxprocs = 1}, [&] {
    std::error_code error;
    char byte[1];
    auto reading = file::open(path, O_RDONLY);
    reading.read_at(0, std::span<char>(byte), error);
    EXPECT_EQ(error, std::errc::invalid_seek);  // it has no offsets: weft::net::fd is for it
    reading.close();
    auto writing = file::open(path, O_WRONLY, 0, error);
    EXPECT_EQ(error, std::errc::no_such_device_or_address);
  });
  unlink(path.c_str());
  weft::run([] {
    const scratch_file on_disk("content");
    auto f = file::open(on_disk.path(), O_RDWR | O_APPEND);
    EXPECT_EQ(fcntl(f.native_handle(), F_GETFL) & (O_NONBLOCK | O_APPEND), O_APPEND);  // a file is as it was asked for
  });
}

// Not every machine has one that may be read.
TEST(file_hazard, a_disk_has_the_size_that_it_has) {
  weft::run([] {
    for (const char* path : {"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0"}) {
      std::error_code error;
      auto disk = file::open(path, O_RDONLY, error);
      if (error) continue;
      const auto end = lseek(disk.native_handle(), 0, SEEK_END);
      EXPECT_EQ(disk.size(), static_cast<std::uint64_t>(end)) << path;
    }
  });
}

}  // namespace
