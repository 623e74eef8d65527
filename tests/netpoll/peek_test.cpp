// SPDX-License-Identifier: Apache-2.0
//
// What streams do beside reading and writing whole spans: they look ahead, read into several pieces, wait for readiness,
// and take options.

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <system_error>
#include <vector>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::clock;
using weft::net::byte_stream;
using weft::net::tcp_stream;
using weft::net::unix_stream;

std::string peek_text(byte_stream& s, std::size_t most) {
  std::string text(most, '\0');
  text.resize(s.peek(text));
  return text;
}

struct pipe_ends {
  pipe_ends() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe(ends), 0);
    out = weft::net::fd(ends[0]);
    in = weft::net::fd(ends[1]);
  }
  weft::net::fd out, in;
};

/// For a pair of each kind.
template <class F>
void with_both_kinds(F f) {
  weft::run([&] {
    auto tcp = connected_pair();
    f(tcp.ours, tcp.peers);
    auto local = weft::net::pair();
    f(local.first, local.second);
  });
}

TEST(peek, leaves_what_it_sees) {
  with_both_kinds([](auto& ours, auto& peers) {
    write_text(peers, "hello");
    EXPECT_EQ(peek_text(ours, 2), "he");
    EXPECT_EQ(peek_text(ours, 100), "hello");
    EXPECT_EQ(peek_text(ours, 100), "hello");
    std::array<unsigned char, 1> one;
    EXPECT_EQ(ours.peek(one), 1u);
    EXPECT_EQ(read_text(ours, 5), "hello");
  });
}

TEST(peek, waits_for_the_first_byte_and_knows_the_end) {
  with_both_kinds([](auto& ours, auto& peers) {
    for (int i = 0; i < 3; ++i) {  // from the second time on the read before was a short one
      auto looking = weft::spawn([&] { return peek_text(ours, 100); });
      until_waiting(1);
      write_text(peers, "x");
      EXPECT_EQ(looking.join(), "x");
      std::array<char, 100> buffer;
      EXPECT_EQ(ours.read_some(buffer), 1u);
    }
    auto looking = weft::spawn([&] { return peek_text(ours, 100); });
    until_waiting(1);
    peers.shutdown_write();
    EXPECT_EQ(looking.join(), "");
    EXPECT_EQ(peek_text(ours, 100), "");
  });
}

// No edge comes for what is seen a second time.
TEST(peek, leaves_the_next_one_ready) {
  with_both_kinds([](auto& ours, auto& peers) {
    write_text(peers, "abc");
    EXPECT_EQ(peek_text(ours, 100), "abc");
    std::array<char, 100> buffer;
    EXPECT_EQ(ours.read_some(buffer), 3u);
    write_text(peers, "d");
    EXPECT_EQ(peek_text(ours, 100), "d");
    ours.wait_readable();
    EXPECT_EQ(peek_text(ours, 100), "d");
    auto [from, to] = weft::net::pair();
    peers.shutdown_write();
    EXPECT_EQ(weft::io::copy(ours, from), 1u);
    EXPECT_EQ(read_text(to, 1), "d");
  });
}

TEST(peek, of_nothing_asks_for_nothing) {
  with_both_kinds([](auto& ours, auto&) { EXPECT_EQ(ours.peek(std::span<std::byte>()), 0u); });
}

TEST(peek, ends_as_a_read_does) {
  with_both_kinds([](auto& ours, auto&) {
    std::array<char, 1> one;
    ours.set_read_deadline(clock::now() + 1ms);
    EXPECT_EQ(code_of([&] { ours.peek(one); }), std::errc::timed_out);
    ours.set_read_deadline(clock::time_point::max());
    auto looking = weft::spawn([&] { return code_of([&] { ours.peek(one); }); });
    until_waiting(1);
    ours.close();
    EXPECT_EQ(looking.join(), std::errc::operation_canceled);
    std::error_code error;
    EXPECT_EQ(tcp_stream().peek(one, error), 0u);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
  });
}

TEST(peek, at_a_pipe_is_an_error_that_says_so) {
  weft::run([] {
    pipe_ends p;
    std::array<char, 1> one;
    std::error_code error;
    p.out.peek(one, error);
    EXPECT_EQ(error, std::errc::not_a_socket);
    const std::string said = message_of([&] { p.out.peek(one); });
    EXPECT_NE(said.find("peek at descriptor " + std::to_string(p.out.native_handle())), std::string::npos) << said;
    EXPECT_NE(said.find("only a socket"), std::string::npos) << said;
    write_text(p.in, "x");
    EXPECT_EQ(read_text(p.out, 1), "x");
  });
}

TEST(peek, takes_no_descriptor_that_comes_along) {
  weft::run([] {
    auto [ours, peers] = weft::net::pair();
    peers.send_fds(std::string_view("x"), std::array{peers.native_handle()});
    EXPECT_EQ(peek_text(ours, 8), "x");
    std::array<char, 8> data;
    const auto got = ours.recv_fds(data);
    EXPECT_EQ(got.bytes, 1u);
    EXPECT_EQ(got.fds.size(), 1u);
  });
}

// --- readv

std::vector<std::span<std::byte>> pieces_of(std::string& room, const std::vector<std::size_t>& sizes) {
  std::vector<std::span<std::byte>> pieces;
  std::span<std::byte> rest = std::as_writable_bytes(std::span(room));
  for (const std::size_t size : sizes) {
    pieces.push_back(rest.first(size));
    rest = rest.subspan(size);
  }
  return pieces;
}

TEST(readv, fills_several_pieces_in_order) {
  with_both_kinds([](auto& ours, auto& peers) {
    std::string room(10, '.');
    const auto pieces = pieces_of(room, {0, 2, 0, 3, 5});
    auto reader = weft::spawn([&] { return ours.readv(pieces); });
    until_waiting(1);
    write_text(peers, "abcdefg");
    EXPECT_EQ(reader.join(), 7u);
    EXPECT_EQ(room, "abcdefg...");
    write_text(peers, "0123456789more");
    EXPECT_EQ(ours.readv(pieces), 10u);
    EXPECT_EQ(room, "0123456789");
    EXPECT_EQ(read_text(ours, 4), "more");
    peers.shutdown_write();
    EXPECT_EQ(ours.readv(pieces), 0u);
  });
}

TEST(readv, of_a_pipe) {
  weft::run([] {
    pipe_ends p;
    std::string room(6, '.');
    const auto pieces = pieces_of(room, {1, 5});
    auto reader = weft::spawn([&] { return p.out.readv(pieces); });
    until_waiting(1);
    write_text(p.in, "pipe");
    EXPECT_EQ(reader.join(), 4u);
    EXPECT_EQ(room, "pipe..");
  });
}

TEST(readv, of_more_pieces_than_a_call_takes) {
  with_both_kinds([](auto& ours, auto& peers) {
    std::string room(5000, '.');
    const auto pieces = pieces_of(room, std::vector<std::size_t>(room.size(), 1));
    const std::string sent(room.size(), 's');
    write_text(peers, sent);
    std::size_t got = 0;
    for (std::span<const std::span<std::byte>> rest = pieces; got < sent.size(); rest = std::span(pieces).subspan(got))
      got += ours.readv(rest);
    EXPECT_EQ(room, sent);
  });
}

TEST(readv, of_nothing_and_of_none) {
  with_both_kinds([](auto& ours, auto&) {
    std::string room;
    EXPECT_EQ(ours.readv({}), 0u);
    EXPECT_EQ(ours.readv(pieces_of(room, {0, 0})), 0u);
    std::error_code error;
    tcp_stream().readv({}, error);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
    ours.close();
    room.resize(1);
    ours.readv(pieces_of(room, {1}), error);
    EXPECT_EQ(error, std::errc::operation_canceled);
  });
}

// --- readiness

TEST(readiness, to_read_takes_nothing) {
  with_both_kinds([](auto& ours, auto& peers) {
    for (int i = 0; i < 3; ++i) {
      auto waiter = weft::spawn([&] { ours.wait_readable(); });
      until_waiting(1);
      write_text(peers, "x");
      waiter.join();
      ours.wait_readable();  // nobody has read it
      std::array<char, 8> buffer;
      EXPECT_EQ(ours.read_some(buffer), 1u);
    }
    peers.shutdown_write();
    ours.wait_readable();  // the end counts
    std::array<char, 8> buffer;
    EXPECT_EQ(ours.read_some(buffer), 0u);
  });
}

TEST(readiness, to_write) {
  with_both_kinds([](auto& ours, auto& peers) {
    ours.wait_writable();
    const std::size_t there = fill(ours);
    std::error_code error;
    ours.set_write_deadline(clock::now() + 1ms);
    ours.wait_writable(error);
    EXPECT_EQ(error, std::errc::timed_out);
    ours.set_write_deadline(clock::time_point::max());
    auto waiter = weft::spawn([&] { ours.wait_writable(); });
    until_waiting(1);
    static_cast<void>(read_text(peers, there));
    waiter.join();
  });
}

TEST(readiness, is_for_descriptors_that_come_along) {
  weft::run([] {
    auto [ours, peers] = weft::net::pair();
    auto waiter = weft::spawn([&s = ours] { s.wait_readable(); });
    until_waiting(1);
    peers.send_fds(std::string_view("x"), std::array{peers.native_handle()});
    waiter.join();
    std::array<char, 8> data;
    EXPECT_EQ(ours.recv_fds(data).fds.size(), 1u);
  });
}

TEST(readiness, ends_with_a_close) {
  with_both_kinds([](auto& ours, auto&) {
    auto waiter = weft::spawn([&] { return code_of([&] { ours.wait_readable(); }); });
    until_waiting(1);
    ours.close();
    EXPECT_EQ(waiter.join(), std::errc::operation_canceled);
    EXPECT_EQ(code_of([] { tcp_stream().wait_writable(); }), std::errc::bad_file_descriptor);
  });
}

// --- options

TEST(options, of_every_kind_of_socket) {
  weft::run([] {
    const auto check = [](auto&& socket) {
      socket.set_option(SOL_SOCKET, SO_RCVBUF, 10'000);
      EXPECT_EQ(socket.template get_option<int>(SOL_SOCKET, SO_RCVBUF), 20'000);  // as the kernel counts
      std::error_code error;
      socket.set_option(12345, 1, 1, error);
      EXPECT_TRUE(error);
      socket.close();
      EXPECT_EQ(socket.template get_option<int>(SOL_SOCKET, SO_RCVBUF, error), 0);
      EXPECT_EQ(error, std::errc::operation_canceled);
    };
    check(connected_pair().ours);
    check(weft::net::pair().first);
    check(weft::net::listen("127.0.0.1:0"));
    check(weft::net::listen_unix("@weft-options-" + std::to_string(getpid())));
    check(weft::net::udp_socket::bind("127.0.0.1:0"));
    pipe_ends p;
    const std::string said = message_of([&] { static_cast<void>(p.out.get_option<int>(SOL_SOCKET, SO_TYPE)); });
    EXPECT_NE(said.find("get option"), std::string::npos) << said;
    EXPECT_EQ(code_of([&] { p.out.set_option(SOL_SOCKET, SO_RCVBUF, 1); }), std::errc::not_a_socket);
  });
}

}  // namespace
