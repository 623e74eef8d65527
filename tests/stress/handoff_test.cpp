// SPDX-License-Identifier: Apache-2.0
//
// Fibers that block or burn their thread without a word, or with one, beside others that pass values. The Ps go from
// hand to hand all the time; what is accounted for: every value arrives once, everybody gets to the end.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::choices;
using weft_test::scaled;

class handoff_stress : public weft_test::stress {};

void burn(std::chrono::nanoseconds length) {
  const auto end = weft::clock::now() + length;
  while (weft::clock::now() < end) {
  }
}

struct pipe_pair {
  pipe_pair() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    reader = ends[0];
    writer = ends[1];
  }
  ~pipe_pair() {
    close(reader);
    close(writer);
  }
  pipe_pair(const pipe_pair&) = delete;
  pipe_pair& operator=(const pipe_pair&) = delete;
  int reader, writer;
};

// Values go round until `stop`; the sums must agree.
struct traffic {
  weft::chan<long> c{3};
  std::atomic<bool> stop{false};
  std::atomic<long> sent{0}, received{0}, count{0};

  void start(weft::scope& s, int pairs) {
    senders.store(pairs);
    for (int i = 0; i < pairs; ++i) {
      s.go([this] {
        for (long v = 1; !stop.load(std::memory_order_relaxed); ++v) {
          c.send(v);
          sent.fetch_add(v, std::memory_order_relaxed);
          count.fetch_add(1, std::memory_order_relaxed);
        }
        if (senders.fetch_sub(1) == 1) c.close();
      });
      s.go([this] {
        for (long v : c) received.fetch_add(v, std::memory_order_relaxed);
      });
    }
  }
  std::atomic<int> senders{0};
};

TEST_F(handoff_stress, all_ways_to_hold_up_a_thread_beside_channel_traffic) {
  const int times = scaled(600);
  char name[] = "/tmp/weft_handoff_XXXXXX";
  const int file = mkstemp(name);
  ASSERT_GE(file, 0);
  traffic t;
  std::atomic<int> finished{0};
  weft::run([&] {
    weft::scope s;
    weft::scope all_traffic;
    t.start(all_traffic, 4);

    for (std::uint64_t who = 0; who < 4; ++who) {
      s.go([&, who] {
        choices draw(who);
        for (int i = 0; i < times; ++i) {
          usleep(draw.below(500));
          weft::yield();
        }
        finished.fetch_add(1);
      });
    }
    for (std::uint64_t who = 0; who < 2; ++who) {
      s.go([&, who] {
        choices draw(10 + who);
        for (int i = 0; i < times / 10 + 1; ++i) {
          burn(draw.up_to(15ms));
          weft::yield();
        }
        finished.fetch_add(1);
      });
    }
    for (std::uint64_t who = 0; who < 4; ++who) {
      s.go([&, who] {
        choices draw(20 + who);
        for (int i = 0; i < times; ++i) {
          const long v = weft::blocking([&] {
            usleep(draw.below(300));
            return 7l;
          });
          ASSERT_EQ(v, 7);
          if (draw.one_in(2)) weft::yield();
        }
        finished.fetch_add(1);
      });
    }
    // A reader that blocks its thread, and the fiber that must run for it to go on.
    for (std::uint64_t who = 0; who < 2; ++who) {
      auto p = std::make_shared<pipe_pair>();
      s.go([&, p] {
        for (int i = 0; i < times; ++i) {
          char byte = 0;
          ASSERT_EQ(read(p->reader, &byte, 1), 1);
          ASSERT_EQ(byte, static_cast<char>(i));
        }
        finished.fetch_add(1);
      });
      s.go([&, p, who] {
        choices draw(30 + who);
        for (int i = 0; i < times; ++i) {
          if (draw.one_in(3)) weft::sleep_for(draw.up_to(300us));
          const char byte = static_cast<char>(i);
          ASSERT_EQ(write(p->writer, &byte, 1), 1);
          weft::yield();
        }
        finished.fetch_add(1);
      });
    }
    // The lock of a file, held across waits: who wants it meanwhile blocks its thread in the kernel.
    for (std::uint64_t who = 0; who < 3; ++who) {
      s.go([&, who] {
        const int own = open(name, O_RDWR | O_CLOEXEC);
        ASSERT_GE(own, 0);
        choices draw(40 + who);
        for (int i = 0; i < times; ++i) {
          ASSERT_EQ(flock(own, LOCK_EX), 0);
          if (draw.one_in(2)) weft::yield();
          if (draw.one_in(8)) weft::sleep_for(draw.up_to(100us));
          ASSERT_EQ(flock(own, LOCK_UN), 0);
        }
        close(own);
        finished.fetch_add(1);
      });
    }
    s.join();
    t.stop = true;
    all_traffic.join();
  });
  close(file);
  unlink(name);
  EXPECT_EQ(finished.load(), 4 + 2 + 4 + 4 + 3);
  EXPECT_EQ(t.sent.load(), t.received.load());
  EXPECT_GT(t.count.load(), 0);
}

// A fiber that lost its P while it blocked comes back and at once does what parks, wakes, starts or ends.
TEST_F(handoff_stress, whoever_lost_its_processor_may_do_anything_next) {
  const int times = scaled(800);
  std::atomic<long> done{0}, got{0};
  weft::run([&] {
    weft::mutex mutex;
    long plain = 0;
    weft::chan<int> c(2);
    weft::scope s;
    weft::scope drain;
    drain.go([&, c] {
      for (int v : c) got.fetch_add(v);
    });
    for (std::uint64_t who = 0; who < 12; ++who) {
      s.go([&, who, c] {
        choices draw(who);
        for (int i = 0; i < times; ++i) {
          usleep(100 + draw.below(200));
          switch (draw.below(8)) {
            case 0:
              c.send(1);
              break;
            case 1:
              if (c.try_send(1) != weft::chan_status::ok) c.send(1);
              break;
            case 2:
              weft::spawn([&, c] { c.send(1); }).join();
              break;
            case 3: {
              weft::wait_group g;
              g.go([c] { c.send(1); });
              g.wait();
              break;
            }
            case 4: {
              const std::lock_guard guard(mutex);
              ++plain;
              if (draw.one_in(4)) usleep(100);
              c.send(1);
              break;
            }
            case 5:
              weft::sleep_for(draw.up_to(100us));
              c.send(1);
              break;
            case 6: {
              weft::scope inner;
              inner.go([c] {
                usleep(120);
                c.send(1);
              });
              inner.join();
              break;
            }
            case 7:
              weft::yield();
              c.send(1);
              break;
          }
          done.fetch_add(1);
        }
      });
    }
    s.join();
    c.close();
    drain.join();
  });
  EXPECT_EQ(done.load(), 12l * times);
  EXPECT_EQ(got.load(), done.load());
}

}  // namespace
