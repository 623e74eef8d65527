// SPDX-License-Identifier: Apache-2.0
//
// Deadlines of sockets: they end waits, beat data that is there, can be moved under a waiting fiber, and lose no byte.

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <system_error>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::clock;
using weft::net::tcp_stream;

std::error_code read_one(tcp_stream& s) {
  std::error_code error;
  char c = 0;
  s.read_some(std::span(&c, 1), error);
  return error;
}

TEST(deadline, ends_a_read_and_no_sooner) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    const auto when = clock::now() + 3ms;
    ours.set_read_deadline(when);
    EXPECT_EQ(read_one(ours), std::errc::timed_out);
    EXPECT_GE(clock::now(), when);
    try {
      static_cast<void>(read_text(ours, 1));
      ADD_FAILURE();
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::errc::timed_out);
    }
  });
}

TEST(deadline, ends_a_write_but_not_the_reads) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    fill(ours);
    ours.set_write_deadline(clock::now() + 1ms);
    std::error_code error;
    ours.write_all(std::span<const char>(std::string(1 << 20, 'x')), error);
    EXPECT_EQ(error, std::errc::timed_out);
    write_text(peers, "r");
    EXPECT_EQ(read_text(ours, 1), "r");
  });
}

TEST(deadline, of_both_ends_accept_too) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    listener.set_deadline(clock::now() + 1ms);
    std::error_code error;
    EXPECT_FALSE(listener.accept(error).has_value());
    EXPECT_EQ(error, std::errc::timed_out);
    EXPECT_THROW(static_cast<void>(listener.accept()), std::system_error);
    listener.set_deadline(clock::time_point::max());
    auto accepted = weft::spawn([&] { return listener.accept().has_value(); });
    auto client = weft::net::connect(listener.local_endpoint().to_string());
    EXPECT_TRUE(accepted.join());
  });
}

TEST(deadline, that_has_passed_beats_data) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    write_text(peers, "x");
    for (const auto past : {clock::now() - 1ms, clock::time_point{}, clock::time_point::min()}) {
      ours.set_read_deadline(past);
      EXPECT_EQ(read_one(ours), std::errc::timed_out);
    }
    ours.set_read_deadline(clock::time_point::max());
    EXPECT_EQ(read_text(ours, 1), "x");
  });
}

TEST(deadline, in_the_past_ends_a_wait_at_once) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    auto reader = weft::spawn([&ours = ours] { return read_one(ours); });
    until_waiting(1);
    ours.set_read_deadline(clock::now() - 1h);
    EXPECT_EQ(reader.join(), std::errc::timed_out);
  });
}

TEST(deadline, reaches_all_who_queue_behind_the_reader) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft::scope s;
    std::atomic<int> late{0};
    for (int i = 0; i < 4; ++i)
      s.go([&, &ours = ours] {
        if (read_one(ours) == std::errc::timed_out) ++late;
      });
    until_waiting(4);
    ours.set_deadline(clock::now() + 1ms);
    s.join();
    EXPECT_EQ(late.load(), 4);
  });
}

TEST(deadline, may_be_moved_nearer_under_a_waiting_fiber) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    ours.set_read_deadline(clock::now() + 1h);
    auto reader = weft::spawn([&ours = ours] { return read_one(ours); });
    until_waiting(1);
    ours.set_read_deadline(clock::now() + 1ms);
    EXPECT_EQ(reader.join(), std::errc::timed_out);
  });
}

// `move` puts off the deadline under which a fiber waits. Again, if it came before that could be done.
template <class Move>
void put_off_in_time(Move move) {
  for (bool in_time = false; !in_time;) {
    auto [ours, peers] = connected_pair();
    const auto near = clock::now() + 5ms;
    ours.set_read_deadline(near);
    auto reader = weft::spawn([&ours = ours] { return read_one(ours); });
    until([&] { return waiting() == 1 || reader.done(); });
    move(ours);
    in_time = clock::now() < near;
    if (in_time) {
      weft::sleep_until(near + 5ms);  // its timer has fired by now, and must not have ended the wait
      EXPECT_FALSE(reader.done());
    }
    write_text(peers, "x");
    const std::error_code error = reader.join();
    EXPECT_TRUE(!error || !in_time) << error.message();
  }
}

TEST(deadline, may_be_moved_further_under_a_waiting_fiber) {
  weft::run([] { put_off_in_time([](tcp_stream& s) { s.set_read_deadline(clock::now() + 1h); }); });
}

TEST(deadline, may_be_cleared_under_a_waiting_fiber) {
  weft::run([] { put_off_in_time([](tcp_stream& s) { s.set_deadline(clock::time_point::max()); }); });
}

// Moved again and again while it fires: the waiting fiber is late only when the deadline that stands has passed.
TEST(deadline, moved_while_it_fires) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    auto reader = weft::spawn([&ours = ours] { return read_one(ours); });
    until_waiting(1);
    for (int i = 0; i < 2000; ++i) {
      ours.set_read_deadline(clock::now() + std::chrono::microseconds(i % 50));
      ours.set_read_deadline(clock::now() + 1h);
      if (i % 64 == 0) weft::sleep_for(20us);
      if (reader.done()) break;
    }
    write_text(peers, "x");
    const std::error_code error = reader.join();
    if (!error) return;
    EXPECT_EQ(error, std::errc::timed_out);  // one of the near ones was met in time
    ours.set_read_deadline(clock::time_point::max());
    EXPECT_EQ(read_text(ours, 1), "x");
  });
}

// The deadline and the byte come at the same moment: whichever wins, the byte is not lost.
TEST(deadline, racing_with_data_loses_none) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft::scope s;
    weft::chan<int> go, done;
    constexpr int rounds = 3000;
    s.go([&, &peers = peers] {
      for (int round : go) {
        const auto until = clock::now() + std::chrono::microseconds(round * 7 % 120);
        while (clock::now() < until) weft::yield();
        const char c = static_cast<char>(round);
        peers.write_all(std::span<const char>(&c, 1));
        done.send(round);
      }
    });
    int late = 0;
    for (int round = 0; round < rounds; ++round) {
      go.send(round);
      ours.set_read_deadline(clock::now() + std::chrono::microseconds(round * 13 % 120));
      std::error_code error;
      char c = 0;
      auto n = ours.read_some(std::span(&c, 1), error);
      done.recv();
      if (error) {
        ASSERT_EQ(error, std::errc::timed_out);
        ++late;
        ours.set_read_deadline(clock::time_point::max());
        n = ours.read_some(std::span(&c, 1));
      }
      ASSERT_EQ(n, 1u);
      ASSERT_EQ(c, static_cast<char>(round));
    }
    go.close();
    s.join();
    EXPECT_GT(late, 0);
    EXPECT_LT(late, rounds);
  });
}

}  // namespace
