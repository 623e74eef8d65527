// SPDX-License-Identifier: Apache-2.0
//
// Time-outs of sockets: each operation has its own time, from its beginning to its end, its wait for its turn included.

#include <gtest/gtest.h>

#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::clock;
using weft::net::byte_stream;

std::error_code read_one(byte_stream& s) {
  std::error_code error;
  char c = 0;
  s.read_some(std::span(&c, 1), error);
  return error;
}

TEST(timeout, ends_each_read_and_no_sooner) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    ours.set_timeout(2ms);
    for (int i = 0; i < 3; ++i) {
      const auto from = clock::now();
      EXPECT_EQ(read_one(ours), std::errc::timed_out);
      EXPECT_GE(clock::now(), from + 2ms);
    }
    EXPECT_EQ(code_of([&, &s = ours] { static_cast<void>(read_text(s, 1)); }), std::errc::timed_out);
    write_text(peers, "x");
    ours.set_timeout(1h);
    EXPECT_EQ(read_text(ours, 1), "x");
  });
}

// Each byte comes in time, and all of them together do not.
TEST(timeout, is_for_the_whole_of_read_exactly) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    ours.set_timeout(30ms);
    auto reader = weft::spawn([&ours = ours] {
      std::error_code error;
      std::string text(1 << 20, '\0');
      ours.read_exactly(text, error);
      return error;
    });
    while (!reader.done()) {
      write_text(peers, "x");
      weft::sleep_for(1ms);
    }
    EXPECT_EQ(reader.join(), std::errc::timed_out);
  });
}

TEST(timeout, is_for_the_whole_of_write_all) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    ours.set_timeout(30ms);
    const std::string much(64 << 20, 'x');
    auto writer = weft::spawn([&, &s = ours] {
      std::error_code error;
      s.write_all(much, error);
      return error;
    });
    std::string some(1000, '\0');
    while (!writer.done()) {
      peers.read_some(some);
      weft::sleep_for(1ms);
    }
    EXPECT_EQ(writer.join(), std::errc::timed_out);
    EXPECT_EQ(code_of([&, &s = ours] {
                const std::array<std::span<const std::byte>, 1> piece{std::as_bytes(std::span(much))};
                s.writev(piece);
              }),
              std::errc::timed_out);
  });
}

TEST(timeout, and_a_deadline_the_nearer_counts) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    ours.set_timeout(1ms);
    ours.set_deadline(clock::now() + 1h);
    EXPECT_EQ(read_one(ours), std::errc::timed_out);
    ours.set_timeout(1h);
    ours.set_deadline(clock::now() + 1ms);
    EXPECT_EQ(read_one(ours), std::errc::timed_out);
    ours.set_deadline(clock::time_point::max());
    write_text(peers, "x");
    EXPECT_EQ(read_text(ours, 1), "x");
    auto reader = weft::spawn([&s = ours] { return read_one(s); });
    until_waiting(1);
    ours.set_deadline(clock::now() - 1s);  // also under one that waits
    EXPECT_EQ(reader.join(), std::errc::timed_out);
  });
}

// Nothing but the byte ends a read that is to have no time-out.
void expect_no_timeout(weft::net::tcp_stream& ours, weft::net::tcp_stream& peers) {
  auto reader = weft::spawn([&] { return read_one(ours); });
  until_waiting(1);
  weft::sleep_for(4ms);
  EXPECT_FALSE(reader.done());
  write_text(peers, "x");
  const std::error_code error = reader.join();
  EXPECT_FALSE(error) << error.message();
}

TEST(timeout, of_nothing_or_less_is_none) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    for (const std::chrono::nanoseconds none : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
      ours.set_timeout(1ms);
      ours.set_timeout(none);
      expect_no_timeout(ours, peers);
    }
  });
}

TEST(timeout, without_an_end_is_none) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    ours.set_timeout(std::chrono::hours::max());
    expect_no_timeout(ours, peers);
    ours.set_timeout(std::chrono::nanoseconds::max());
    expect_no_timeout(ours, peers);
    ours.set_timeout(std::chrono::nanoseconds::max() - 1ns);  // and now: more than there is
    expect_no_timeout(ours, peers);
    ours.set_timeout(std::chrono::duration<double>(std::numeric_limits<double>::infinity()));
    expect_no_timeout(ours, peers);
  });
}

TEST(timeout, that_is_no_number_is_refused) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    const std::chrono::duration<double> no_number(std::numeric_limits<double>::quiet_NaN());
    EXPECT_THROW(ours.set_timeout(no_number), std::invalid_argument);
    expect_no_timeout(ours, peers);
  });
}

TEST(timeout, is_for_what_begins_later) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    auto reader = weft::spawn([&s = ours] { return read_one(s); });
    until_waiting(1);
    ours.set_timeout(1ms);
    // The one that waits has no limit, and the one behind it has: it leaves the line.
    EXPECT_EQ(read_one(ours), std::errc::timed_out);
    EXPECT_FALSE(reader.done());
    write_text(peers, "xy");
    EXPECT_FALSE(reader.join());
    EXPECT_EQ(read_text(ours, 1), "y");
  });
}

TEST(timeout, is_for_accept) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    listener.set_timeout(1ms);
    std::error_code error;
    EXPECT_FALSE(listener.accept(error).has_value());
    EXPECT_EQ(error, std::errc::timed_out);
    listener.set_timeout(1h);
    auto client = weft::net::connect(listener.local_endpoint());
    auto served = listener.accept();
    ASSERT_TRUE(served.has_value());
    expect_no_timeout(*served, client);  // it is the listener's alone

    auto local = weft::net::listen_unix("@weft-timeout-" + std::to_string(getpid()));
    local.set_timeout(1ms);
    EXPECT_FALSE(local.accept(error).has_value());
    EXPECT_EQ(error, std::errc::timed_out);
  });
}

TEST(timeout, is_for_datagrams_pipes_and_passed_descriptors) {
  weft::run([] {
    auto socket = weft::net::udp_socket::bind("127.0.0.1:0");
    socket.set_timeout(1ms);
    std::array<char, 8> buffer;
    EXPECT_EQ(code_of([&] { socket.recv_from(buffer); }), std::errc::timed_out);
    socket.send_to(std::string_view("x"), socket.local_endpoint());
    socket.set_timeout(1h);
    EXPECT_EQ(socket.recv_from(buffer).bytes, 1u);

    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    weft::net::fd out(ends[0]), in(ends[1]);
    out.set_timeout(1ms);
    EXPECT_EQ(read_one(out), std::errc::timed_out);
    EXPECT_EQ(code_of([&] { out.wait_readable(); }), std::errc::timed_out);
    fill(in);
    in.set_timeout(1ms);
    EXPECT_EQ(code_of([&] { in.write_all(std::string(100'000, 'x')); }), std::errc::timed_out);

    auto [a, b] = weft::net::pair();
    a.set_timeout(1ms);
    EXPECT_EQ(code_of([&, &s = a] { static_cast<void>(s.recv_fds(buffer)); }), std::errc::timed_out);
    EXPECT_EQ(code_of([&, &s = a] { s.peek(buffer); }), std::errc::timed_out);
  });
}

TEST(timeout, holds_for_plain_threads) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    ours.set_timeout(1ms);
    weft::chan<std::error_code> ended(1);
    std::thread other([&, &s = ours] { ended.send(read_one(s)); });
    EXPECT_EQ(ended.recv().value(), std::errc::timed_out);
    other.join();
  });
}

TEST(timeout, does_nothing_to_what_is_closed_or_none) {
  weft::run([] {
    weft::net::tcp_stream none;
    none.set_timeout(1ms);
    EXPECT_EQ(read_one(none), std::errc::bad_file_descriptor);
    auto [ours, peers] = connected_pair();
    ours.close();
    ours.set_timeout(1ms);
    EXPECT_EQ(read_one(ours), std::errc::operation_canceled);
    ours.set_timeout(0ns);
  });
}

TEST(timeout, ends_with_its_stream) {
  weft::run([] {
    for (int i = 0; i < 20; ++i) {  // slots are used again
      auto [ours, peers] = connected_pair();
      if (i % 2 == 0)
        ours.set_timeout(1ms), peers.set_timeout(1ms);
      else
        expect_no_timeout(ours, peers);
    }
  });
}

TEST(timeout, leaves_a_cancellation_one) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    ours.set_timeout(1h);
    weft::cancel_scope region;
    auto reader = weft::spawn([&, &s = ours] {
      std::error_code error;
      region.run([&] { error = read_one(s); });
      return error;
    });
    until_waiting(1);
    region.cancel();
    EXPECT_EQ(reader.join(), std::errc::operation_canceled);
  });
}

// A time-out and a byte come at the same moment: whichever wins, the byte is not lost.
TEST(timeout, racing_with_data_loses_none) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft::scope s;
    weft::chan<int> go, done;
    constexpr int rounds = 2000;
    s.go([&, &to = peers] {
      for (int round : go) {
        const auto until = clock::now() + std::chrono::microseconds(round * 7 % 120);
        while (clock::now() < until) weft::yield();
        const char c = static_cast<char>(round);
        to.write_all(std::span<const char>(&c, 1));
        done.send(round);
      }
    });
    for (int round = 0; round < rounds; ++round) {
      go.send(round);
      ours.set_timeout(std::chrono::microseconds(1 + round * 13 % 120));
      std::error_code error;
      char c = 0;
      auto n = ours.read_some(std::span(&c, 1), error);
      done.recv();
      if (error) {
        ASSERT_EQ(error, std::errc::timed_out);
        ours.set_timeout(0ns);
        n = ours.read_some(std::span(&c, 1));
      }
      ASSERT_EQ(n, 1u);
      ASSERT_EQ(c, static_cast<char>(round));
    }
    go.close();
    s.join();
  });
}

// --- in io::copy, where each read and each write is one operation

struct copied {
  std::uint64_t bytes = 0;
  std::error_code from, to;
};
template <class From, class To>
copied copy(From& from, To& to) {
  copied how;
  how.bytes = weft::io::copy(from, to, how.from, how.to);
  return how;
}

TEST(timeout, ends_a_copy_at_the_end_that_stalls) {
  weft::run([] {
    auto [source, writer] = connected_pair();
    auto [sink, reader] = connected_pair();
    source.set_timeout(1ms);
    const copied of_the_source = copy(source, sink);
    EXPECT_EQ(of_the_source.from, std::errc::timed_out);
    EXPECT_FALSE(of_the_source.to);

    source.set_timeout(0ns);
    fill(sink);
    sink.set_timeout(1ms);
    write_text(writer, "x");
    const copied of_the_sink = copy(source, sink);
    EXPECT_EQ(of_the_sink.to, std::errc::timed_out);
    EXPECT_FALSE(of_the_sink.from);
  });
}

TEST(timeout, of_the_end_that_is_not_waited_for_ends_no_copy) {
  weft::run([] {
    auto [source, writer] = connected_pair();
    auto [sink, reader] = connected_pair();
    sink.set_timeout(1ms);
    auto copying = weft::spawn([&from = source, &to = sink] { return copy(from, to); });
    until_waiting(1);
    weft::sleep_for(4ms);
    EXPECT_FALSE(copying.done());
    write_text(writer, "hello");
    EXPECT_EQ(read_text(reader, 5), "hello");
    writer.shutdown_write();
    const copied how = copying.join();
    EXPECT_EQ(how.bytes, 5u);
    EXPECT_FALSE(how.from || how.to) << how.from.message() << ", " << how.to.message();
  });
}

TEST(timeout, of_a_copy_holds_while_it_waits_for_its_turn) {
  weft::run([] {
    auto [source, writer] = connected_pair();
    auto [sink, reader] = connected_pair();
    auto other = weft::spawn([&from = source] { return read_one(from); });
    until_waiting(1);
    source.set_timeout(1ms);
    EXPECT_EQ(copy(source, sink).from, std::errc::timed_out);
    write_text(writer, "x");
    EXPECT_FALSE(other.join());
  });
}

TEST(timeout, that_has_passed_is_not_the_next_copys) {
  weft::run([] {
    auto [source, writer] = connected_pair();
    auto [sink, reader] = connected_pair();
    source.set_timeout(1ms);
    EXPECT_EQ(read_one(source), std::errc::timed_out);
    source.set_timeout(1h);
    write_text(writer, "hello");
    writer.shutdown_write();
    const copied how = copy(source, sink);
    EXPECT_EQ(how.bytes, 5u);
    EXPECT_FALSE(how.from) << how.from.message();
  });
}

TEST(timeout, ends_a_copy_by_splice) {
  weft::run([] {
    auto [ours, peers] = weft::net::pair();
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    weft::net::fd out(ends[0]), in(ends[1]);
    ours.set_timeout(1ms);
    EXPECT_EQ(copy(ours, in).from, std::errc::timed_out);
    write_text(peers, "x");
    fill(in);
    in.set_timeout(1ms);
    ours.set_timeout(0ns);
    EXPECT_EQ(copy(ours, in).to, std::errc::timed_out);
  });
}

}  // namespace
