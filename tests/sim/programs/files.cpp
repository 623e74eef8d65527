// SPDX-License-Identifier: Apache-2.0
// Files: every byte of a file is accounted for, whoever performs the calls, and nobody waits for them but who asked.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <weft/file.hpp>
#include <weft/weft.hpp>

#include "tests/sim/kernel/disk.hpp"
#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

char byte_at(unsigned writer, std::size_t i) { return static_cast<char>(1 + (writer * 31 + i * 7) % 250); }

void expect_all_closed() { expect(kernel::open_disk_files() == 0, "a file stays open"); }

/// After the last run: the threads that have served files go once they have had nothing to do for ten seconds.
void expect_threads_to_go() {
  block(11'000 * ms);
  expect(other_threads() == 0, "a thread that served files stays");
}

constexpr std::size_t region = 120;

/// Writes the writer's region in pieces, and reads it back in others.
void write_and_read(weft::file& f, unsigned writer) {
  const instant began = now();
  const std::uint64_t begin = writer * region;
  std::array<char, region> bytes{};
  for (std::size_t i = 0; i < region; ++i) bytes[i] = byte_at(writer, i);
  for (std::size_t at = 0; at < region;) {
    const std::size_t n = std::min<std::size_t>(1 + choose(60), region - at);
    expect(f.write_at(begin + at, std::span<const char>(bytes).subspan(at, n)) == n, "a write is short");
    at += n;
  }
  if (maybe(3)) f.fsync();
  std::array<char, region> got{};
  for (std::size_t at = 0; at < region;) {
    const std::size_t n = std::min<std::size_t>(1 + choose(60), region - at);
    expect(f.read_at(begin + at, std::span<char>(got).subspan(at, n)) == n, "a read is short");
    at += n;
  }
  expect(got == bytes, "a file has other bytes than were written");
  expect_within(now() - began, 1'000 * ms, "operations on a file take long");
}

// Fibers and plain threads write and read a file, each its own part; a ticker beside them.
void files() {
  weft::run({.maxprocs = up_to(3)}, [] {
    bool stop = false;
    lateness late;
    weft::scope ticker;
    ticker.go([&] {
      while (!stop) late.sleep(ms);
    });
    {
      weft::file f = weft::file::open("a", O_RDWR | O_CREAT);
      const auto fibers = static_cast<unsigned>(up_to(6));
      weft::scope s;
      for (unsigned i = 0; i < fibers; ++i) s.go([&f, i] { write_and_read(f, i); });
      if (maybe(2)) {
        foreign_thread t([&f, fibers] { write_and_read(f, fibers); });
        t.join();
      }
      s.join();
      expect(f.size() >= fibers * region, "a file is shorter than what was written");
    }
    stop = true;
    ticker.join();
    late.expect_at_most(3 * a_slice_and(ms), "a ticker beside files is late");
    expect_all_closed();
  });
  expect_threads_to_go();
}

// More operations at a time than threads serve them; and once these have gone, the next ones make new ones.
void many_file_operations() {
  kernel::disk_trouble().not_cached_one_in = 1;
  kernel::disk_trouble().cannot_tell = false;
  weft::run({.maxprocs = up_to(2)}, [] {
    weft::file f = weft::file::open("a", O_RDWR | O_CREAT);
    for (const int many : {up_to(40), 1}) {
      weft::scope s;
      for (int i = 0; i < many; ++i) s.go([&f, i] { write_and_read(f, static_cast<unsigned>(i)); });
      s.join();
      weft::sleep_for(10s - ns(choose(40'000)));  // as long as a thread without work stays
    }
    f = {};
    expect_all_closed();
  });
  expect_threads_to_go();
}

// More at a time than there may be threads, and each that is asked for is refused after a while.
void file_operations_without_threads() {
  kernel::disk_trouble().not_cached_one_in = 1;
  kernel::disk_trouble().cannot_tell = false;
  weft::run({.maxprocs = up_to(2)}, [] {
    weft::file f = weft::file::open("a", O_RDWR | O_CREAT);
    std::vector<std::unique_ptr<foreign_thread>> callers;
    for (unsigned i = 0; i < 18; ++i)
      callers.push_back(std::make_unique<foreign_thread>([&f, i] { write_and_read(f, i); }));
    set_thread_starts(thread_starts::refused, 300 * us);
    for (const auto& each : callers) each->join();
    set_thread_starts(thread_starts::as_planned);
    f = {};
    expect_all_closed();
  });
  expect_threads_to_go();
}

// One closes, or two, while others are at it; who comes later finds it closed.
void close_during_file_operations() {
  weft::run({.maxprocs = up_to(3)}, [] {
    for (int round = 0; round < 3; ++round) {
      auto f = std::make_unique<weft::file>(weft::file::open("a", O_RDWR | O_CREAT));
      weft::scope s;
      for (unsigned i = 0; i < 4; ++i)
        s.go([&f, i] {
          std::array<char, 30> bytes{};
          for (std::error_code error; !error;) {
            if (maybe(2))
              f->write_at(i * 30, std::span<const char>(bytes), error);
            else
              f->read_at(i * 30, std::span<char>(bytes), error);
            if (maybe(4)) f->fsync(error);
            expect(!error || error == std::errc::operation_canceled, "an operation fails for another reason");
          }
        });
      for (int i = up_to(2); i > 0; --i)
        s.go([&f] {
          weft::sleep_for(ns(choose(500'000)));
          f->close();
        });
      s.join();
      f.reset();
      expect_all_closed();
    }
  });
  expect_threads_to_go();
}

// What has begun is waited for; what has not is cancelled.
void cancelled_file_operations() {
  weft::run({.maxprocs = up_to(2)}, [] {
    weft::file f = weft::file::open("a", O_RDWR | O_CREAT);
    weft::scope s;
    int begun = 0, ended = 0;
    for (unsigned i = 0; i < 6; ++i)
      s.go([&, i] {
        for (;;) {
          ++begun;
          const bool off = was_cancelled([&] { write_and_read(f, i); });
          ++ended;
          if (off) return;
        }
      });
    weft::sleep_for(ns(choose(3'000'000)));
    s.cancel();
    expect(was_cancelled([&] { s.join(); }) || true, "");
    expect(begun == ended, "an operation is left behind");
    f = {};
    expect_all_closed();
  });
  expect_threads_to_go();
}

// Plain threads are at it as the run ends, and as the next begins.
void files_at_the_end() {
  for (int round = 0; round < 2; ++round) {
    std::unique_ptr<foreign_thread> t;
    std::unique_ptr<weft::file> f;
    weft::run({.maxprocs = up_to(2)}, [&] {
      f = std::make_unique<weft::file>(weft::file::open("a", O_RDWR | O_CREAT));
      t = std::make_unique<foreign_thread>([&f] {
        std::array<char, 40> bytes{};
        for (std::error_code error; !error;) f->write_at(0, std::span<const char>(bytes), error);
      });
      weft::sleep_for(ns(choose(2'000'000)));
      if (maybe(2)) f->close();
    });
    f->close();
    t->join();
    f.reset();
    expect_all_closed();
  }
  expect_threads_to_go();
}

// An operation holds up nobody else, for the P of who performs one itself is taken. But Ms, the monitor and the threads
// that serve files wait for each other's slices.
constexpr bounds beside_files = {.ready = 15 * ms, .ready_beside_idle = 8 * ms, .overdue = 15 * ms};

constexpr program all[] = {
    {"files", files, beside_files},
    {"many_file_operations", many_file_operations, beside_files},
    {"file_operations_without_threads", file_operations_without_threads, beside_files},
    {"close_during_file_operations", close_during_file_operations, beside_files},
    {"cancelled_file_operations", cancelled_file_operations, beside_files},
    {"files_at_the_end", files_at_the_end, beside_files},
};

}  // namespace

constinit const std::span<const program> programs_of_files = all;

}  // namespace sim
