// SPDX-License-Identifier: Apache-2.0
//
// Closing a socket under those who use it: they are told, they have left when `close` returns, and nobody ever touches
// the next owner of the number.

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::tcp_stream;

TEST(close, wakes_a_reader_and_a_writer_and_outlasts_them) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    const int fd = ours.native_handle();
    fill(ours);
    std::atomic<int> left{0};
    std::error_code read_error, write_error;
    weft::scope s;
    s.go([&, &ours = ours] {
      char c = 0;
      ours.read_some(std::span(&c, 1), read_error);
      ++left;
    });
    s.go([&, &ours = ours] {
      ours.write_all(std::span<const char>(std::string(1 << 20, 'x')), write_error);
      ++left;
    });
    until_waiting(2);
    ours.close();
    EXPECT_FALSE(is_open(fd));
    EXPECT_EQ(ours.native_handle(), -1);
    s.join();
    EXPECT_EQ(left.load(), 2);
    EXPECT_EQ(read_error, std::errc::operation_canceled);
    EXPECT_EQ(write_error, std::errc::operation_canceled);
  });
}

// On one P the reader goes on before the closer does, who waits for it to leave: the slot, and the number, must not be
// somebody else's by the time he comes to close them.
TEST(close, a_stream_may_be_destroyed_by_the_reader_that_it_has_woken) {
  weft::run({.maxprocs = 1}, [] {
    for (int round = 0; round < 100; ++round) {
      auto listener = weft::net::listen("127.0.0.1:0");
      const std::string where = listener.local_endpoint().to_string();
      auto ours = weft::net::connect(where);
      auto peers = *listener.accept();
      weft::scope s;
      s.go([&] {
        char c = 0;
        std::error_code error;
        ours.read_some(std::span(&c, 1), error);
        EXPECT_EQ(error, std::errc::operation_canceled);
        ours = {};
        ours = weft::net::connect(where);  // mostly in the slot that has just become free
      });
      until_waiting(1);
      ours.close();
      s.join();
      auto again = *listener.accept();
      write_text(ours, "still there");
      EXPECT_EQ(read_text(again, 11), "still there");
    }
  });
}

TEST(close, wakes_those_who_queue_for_the_side) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    std::vector<std::error_code> errors(5);
    weft::scope s;
    for (std::size_t i = 0; i < errors.size(); ++i)
      s.go([&ours = ours, &error = errors[i]] {
        char c = 0;
        ours.read_some(std::span(&c, 1), error);
      });
    until_waiting(errors.size());
    ours.close();
    s.join();
    for (const auto& error : errors) EXPECT_EQ(error, std::errc::operation_canceled);
  });
}

TEST(close, throws_at_those_who_wait_and_those_who_come_later) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    const auto code = [&ours = ours] {
      try {
        char c = 0;
        ours.read_some(std::span(&c, 1));
      } catch (const std::system_error& e) {
        return e.code();
      }
      return std::error_code();
    };
    auto reader = weft::spawn(code);
    until_waiting(1);
    ours.close();
    EXPECT_EQ(reader.join(), std::errc::operation_canceled);
    EXPECT_EQ(code(), std::errc::operation_canceled);
    std::error_code error;
    ours.write_all(std::string_view("x"), error);
    EXPECT_EQ(error, std::errc::operation_canceled);
    ours.shutdown_write(error);
    EXPECT_EQ(error, std::errc::operation_canceled);
    static_cast<void>(ours.local_endpoint(error));
    EXPECT_EQ(error, std::errc::operation_canceled);
    EXPECT_TRUE(ours);
  });
}

TEST(close, a_second_one_does_nothing) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    ours.close();
    ours.close();
    char c = 0;
    EXPECT_EQ(peers.read_some(std::span(&c, 1)), 0u);
    auto listener = weft::net::listen("127.0.0.1:0");
    listener.close();
    listener.close();
  });
}

TEST(close, ends_accept) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const std::string address = listener.local_endpoint().to_string();
    auto throwing = weft::spawn([&] { return listener.accept().has_value(); });
    until_waiting(1);
    auto reporting = weft::spawn([&] {
      std::error_code error;
      const bool any = listener.accept(error).has_value();
      return std::pair(any, error);
    });
    until_waiting(2);
    listener.close();
    auto again = weft::net::listen(address);  // the port is free when close has returned
    EXPECT_FALSE(throwing.join());
    const auto [any, error] = reporting.join();
    EXPECT_FALSE(any);
    EXPECT_EQ(error, std::errc::operation_canceled);
    EXPECT_FALSE(listener.accept().has_value());
  });
}

TEST(close, is_not_cancelled) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    auto reader = weft::spawn([&ours = ours] {
      std::error_code error;
      char c = 0;
      ours.read_some(std::span(&c, 1), error);
      return error;
    });
    until_waiting(1);
    weft::cancel_scope cancelled;
    cancelled.cancel();
    EXPECT_TRUE(cancelled.run([&ours = ours] { ours.close(); }));
    EXPECT_EQ(reader.join(), std::errc::operation_canceled);
  });
}

TEST(close, by_a_plain_thread_reaches_a_fiber) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    auto reader = weft::spawn([&ours = ours] {
      std::error_code error;
      char c = 0;
      ours.read_some(std::span(&c, 1), error);
      return error;
    });
    until_waiting(1);
    std::thread closer([&ours = ours] { ours.close(); });
    EXPECT_EQ(reader.join(), std::errc::operation_canceled);
    weft::blocking([&] { closer.join(); });
  });
}

TEST(close, may_come_after_the_runtime) {
  tcp_stream kept;
  int fd = -1;
  weft::run([&] {
    auto [ours, peers] = connected_pair();
    kept = std::move(ours);
    fd = kept.native_handle();
  });
  EXPECT_TRUE(is_open(fd));
  kept.close();
  EXPECT_FALSE(is_open(fd));
}

// The peer's byte and the close come at the same time: the reader has the one or hears of the other, once, and comes
// back.
TEST(close, racing_with_readiness) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    int read = 0, closed = 0;
    for (int i = 0; i < 2000; ++i) {
      auto accepted = weft::spawn([&] { return *listener.accept(); });
      auto ours = weft::net::connect(listener.local_endpoint().to_string());
      auto peers = accepted.join();
      weft::scope s;
      s.go([&] {
        std::error_code error;
        char c = 0;
        const auto n = ours.read_some(std::span(&c, 1), error);
        if (n == 1 && !error)
          ++read;
        else if (n == 0 && error == std::errc::operation_canceled)
          ++closed;
      });
      if (i % 2 == 0) until_waiting(1);
      s.go([&] { write_text(peers, "x"); });
      s.go([&] {
        for (int k = 0; k < i % 7; ++k) weft::yield();
        ours.close();
      });
      s.join();
      reset_on_close(peers);  // no thousands of sockets in TIME_WAIT
    }
    EXPECT_EQ(read + closed, 2000);
    EXPECT_GT(closed, 0);
  });
}

// A fiber closes and opens, so that the number is somebody else's at once; the one that was parked on it never reads
// from the new owner.
TEST(close, a_reused_number_is_another_socket) {
  weft::run([] {
    int reused = 0;
    for (int i = 0; i < 300; ++i) {
      auto [ours, peers] = connected_pair();
      auto [other, others_peer] = connected_pair();
      const int number = ours.native_handle();
      auto reader = weft::spawn([&ours = ours] {
        std::error_code error;
        char c = 0;
        ours.read_some(std::span(&c, 1), error);
        return std::pair(error, c);
      });
      until_waiting(1);
      ours.close();
      auto [next, nexts_peer] = connected_pair();
      if (next.native_handle() == number || nexts_peer.native_handle() == number) ++reused;
      write_text(next, "n");
      write_text(nexts_peer, "n");
      const auto [error, c] = reader.join();
      EXPECT_EQ(error, std::errc::operation_canceled);
      EXPECT_EQ(c, 0);
      EXPECT_EQ(read_text(next, 1), "n");
      EXPECT_EQ(read_text(nexts_peer, 1), "n");
    }
    EXPECT_GT(reused, 0);
  });
}

// While a duplicate keeps the file alive, events for a closed descriptor could go on coming.
TEST(close, leaves_nothing_behind_while_a_duplicate_lives) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    const int copy = dup(ours.native_handle());
    ours.close();
    auto [next, nexts_peer] = connected_pair();
    write_text(peers, "for nobody");
    auto reader = weft::spawn([&next = next] { return read_text(next, 1); });
    until_waiting(1);
    write_text(nexts_peer, "x");
    EXPECT_EQ(reader.join(), "x");
    ::close(copy);
  });
}

TEST(cancel, ends_a_parked_read_a_write_and_an_accept) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    fill(ours);
    auto listener = weft::net::listen("127.0.0.1:0");
    std::atomic<int> thrown{0};
    std::error_code read_error, write_error, accept_error;
    weft::scope s;
    s.go([&, &ours = ours] {
      char c = 0;
      ours.read_some(std::span(&c, 1), read_error);
      try {
        ours.read_some(std::span(&c, 1));
      } catch (const weft::cancelled&) {
        ++thrown;
      }
    });
    s.go([&, &ours = ours] {
      ours.write_all(std::span<const char>(std::string(1 << 20, 'x')), write_error);
      try {
        write_text(ours, "x");
      } catch (const weft::cancelled&) {
        ++thrown;
      }
    });
    s.go([&] {
      static_cast<void>(listener.accept(accept_error));
      try {
        static_cast<void>(listener.accept());
      } catch (const weft::cancelled&) {
        ++thrown;
      }
    });
    until_waiting(3);
    s.cancel();
    s.join();
    EXPECT_EQ(read_error, std::errc::operation_canceled);
    EXPECT_EQ(write_error, std::errc::operation_canceled);
    EXPECT_EQ(accept_error, std::errc::operation_canceled);
    EXPECT_EQ(thrown.load(), 3);
  });
}

TEST(cancel, leaves_the_stream_to_others) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    for (int i = 0; i < 500; ++i) {
      auto doomed = weft::spawn([&ours = ours] { static_cast<void>(read_text(ours, 1)); });
      auto next = weft::spawn([&ours = ours] { return read_text(ours, 1); });
      if (i % 2 == 0) until_waiting(2);
      weft::scope s;
      s.go([&] { doomed.cancel(); });
      s.go([&peers = peers] { write_text(peers, "ab"); });
      s.join();
      // Cancelled or not, the first took one byte or none, and the other gets the next.
      const bool cut = [&] {
        try {
          doomed.join();
          return false;
        } catch (const weft::fiber_cancelled&) {
          return true;
        }
      }();
      next.join();
      if (cut) static_cast<void>(read_text(ours, 1));  // the one that was not taken
    }
  });
}

TEST(cancel, looks_before_it_reads) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    write_text(peers, "x");
    weft::cancel_scope cancelled;
    cancelled.cancel();
    EXPECT_FALSE(cancelled.run([&ours = ours] { static_cast<void>(read_text(ours, 1)); }));
    std::error_code error;
    EXPECT_TRUE(cancelled.run([&ours = ours, &error] {
      char c = 0;
      ours.read_some(std::span(&c, 1), error);
    }));
    EXPECT_EQ(error, std::errc::operation_canceled);
    EXPECT_EQ(read_text(ours, 1), "x");
  });
}

TEST(cancel, with_timeout_ends_a_read_and_a_connect) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    EXPECT_THROW(weft::with_timeout(1ms, [&ours = ours] { static_cast<void>(read_text(ours, 1)); }), weft::timed_out);
    // A listener whose queue is full lets further connections hang.
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof at;
    ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    ASSERT_EQ(listen(listener, 0), 0);
    ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&at), &length), 0);
    const std::string where = "127.0.0.1:" + std::to_string(ntohs(at.sin_port));
    std::vector<tcp_stream> queued;
    EXPECT_THROW(
        {
          for (int i = 0; i < 100; ++i) weft::with_timeout(20ms, [&] { queued.push_back(weft::net::connect(where)); });
        },
        weft::timed_out);
    ::close(listener);
  });
}

}  // namespace
