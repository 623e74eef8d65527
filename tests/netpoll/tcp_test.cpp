// SPDX-License-Identifier: Apache-2.0
//
// Streams and listeners as a program sees them: what is written arrives, ends are ends, and every way in which a peer
// can go away has its error, in both forms.

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "netpoll/open.hpp"
#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::tcp_stream;

TEST(tcp, carries_bytes_both_ways) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    write_text(ours, "ping");
    EXPECT_EQ(read_text(peers, 4), "ping");
    write_text(peers, "pong");
    EXPECT_EQ(read_text(ours, 4), "pong");
  });
}

TEST(tcp, takes_spans_of_bytes_and_of_characters) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    std::array<std::byte, 4> bytes{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    std::array<char, 4> characters{'a', 'b', 'c', 'd'};
    std::error_code error = std::make_error_code(std::errc::io_error);
    EXPECT_EQ(ours.write_all(bytes), 4u);
    EXPECT_EQ(ours.write_all(characters, error), 4u);
    EXPECT_FALSE(error);
    std::array<std::byte, 4> bytes_in{};
    std::array<char, 4> characters_in{};
    EXPECT_EQ(peers.read_exactly(bytes_in), 4u);
    EXPECT_EQ(peers.read_exactly(characters_in, error), 4u);
    EXPECT_EQ(bytes_in, bytes);
    EXPECT_EQ(characters_in, characters);
    EXPECT_EQ(ours.write_some(characters), 4u);
    EXPECT_EQ(peers.read_some(characters_in), 4u);
    EXPECT_EQ(ours.write_some(bytes, error), 4u);
    EXPECT_EQ(peers.read_some(bytes_in, error), 4u);
  });
}

TEST(tcp, knows_both_ends) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    EXPECT_NE(listener.local_endpoint().port(), 0);
    EXPECT_EQ(listener.local_endpoint().address(), "127.0.0.1");
    auto accepted = weft::spawn([&] { return *listener.accept(); });
    auto ours = weft::net::connect(listener.local_endpoint().to_string());
    auto peers = accepted.join();
    EXPECT_EQ(ours.remote_endpoint(), listener.local_endpoint());
    EXPECT_EQ(ours.local_endpoint(), peers.remote_endpoint());
    EXPECT_EQ(ours.local_endpoint().to_string(), "127.0.0.1:" + std::to_string(ours.local_endpoint().port()));
    EXPECT_FALSE(ours.local_endpoint().is_v6());
  });
}

TEST(tcp, speaks_ipv6) {
  weft::run([] {
    std::error_code error;
    auto listener = weft::net::listen("[::1]:0", error);
    if (error) GTEST_SKIP() << "no IPv6 here: " << error.message();
    EXPECT_EQ(listener.local_endpoint().to_string(), "[::1]:" + std::to_string(listener.local_endpoint().port()));
    EXPECT_TRUE(listener.local_endpoint().is_v6());
    auto [ours, peers] = connected_pair("[::1]:0");
    write_text(ours, "six");
    EXPECT_EQ(read_text(peers, 3), "six");
  });
}

TEST(tcp, an_empty_host_is_every_address_of_this_machine) {
  weft::run([] {
    auto listener = weft::net::listen(":0");
    const std::string port = std::to_string(listener.local_endpoint().port());
    auto accepted = weft::spawn([&] { return *listener.accept(); });
    auto ours = weft::net::connect("127.0.0.1:" + port);
    auto peers = accepted.join();
    write_text(peers, "x");
    EXPECT_EQ(read_text(ours, 1), "x");
  });
}

TEST(tcp, resolves_names) {
  weft::run([] {
    auto listener = weft::net::listen("localhost:0");
    auto accepted = weft::spawn([&] { return *listener.accept(); });
    auto ours = weft::net::connect("localhost:" + std::to_string(listener.local_endpoint().port()));
    auto peers = accepted.join();
    write_text(ours, "x");
    EXPECT_EQ(read_text(peers, 1), "x");
  });
}

TEST(tcp, refuses_what_is_no_address_and_names_it) {
  weft::run([] {
    for (const char* bad : {"127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:80", "[::1:80", "[localhost]:80",
                            "127.0.0.1:99999999999"}) {
      std::error_code error;
      EXPECT_FALSE(weft::net::connect(bad, error)) << bad;
      EXPECT_EQ(error, std::errc::invalid_argument) << bad;
      EXPECT_FALSE(weft::net::listen(bad, error)) << bad;
      EXPECT_EQ(error, std::errc::invalid_argument) << bad;
      try {
        static_cast<void>(weft::net::listen(bad));
        ADD_FAILURE() << bad;
      } catch (const std::system_error& e) {
        EXPECT_NE(std::string(e.what()).find(bad), std::string::npos) << e.what();
      }
    }
  });
}

TEST(tcp, reports_a_refused_connection) {
  weft::run([] {
    std::string nobody;
    {
      auto listener = weft::net::listen("127.0.0.1:0");
      nobody = listener.local_endpoint().to_string();
    }
    std::error_code error;
    EXPECT_FALSE(weft::net::connect(nobody, error));
    EXPECT_EQ(error, std::errc::connection_refused);
    EXPECT_EQ(code_of([&] { weft::net::connect(nobody); }), std::errc::connection_refused);
  });
}

TEST(tcp, reports_an_address_in_use) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    std::error_code error;
    EXPECT_FALSE(weft::net::listen(listener.local_endpoint().to_string(), error));
    EXPECT_EQ(error, std::errc::address_in_use);
  });
}

TEST(tcp, needs_a_runtime) {
  EXPECT_THROW(static_cast<void>(weft::net::listen("127.0.0.1:0")), std::logic_error);
  EXPECT_THROW(static_cast<void>(weft::net::connect("127.0.0.1:1")), std::logic_error);
}

TEST(tcp, without_a_socket_fails) {
  weft::run([] {
    tcp_stream none;
    EXPECT_FALSE(none);
    std::error_code error;
    char c = 0;
    none.read_some(std::span(&c, 1), error);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
    none.write_all(std::span<const char>(&c, 1), error);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
    none.shutdown_write(error);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
    EXPECT_EQ(none.native_handle(), -1);
    none.close();
    none.set_deadline(weft::clock::now());
    weft::net::tcp_listener nobody;
    EXPECT_FALSE(nobody.accept(error).has_value());
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
    EXPECT_EQ(code_of([&] { none.read_some(std::span(&c, 1)); }), std::errc::bad_file_descriptor);
  });
}

TEST(tcp, moves) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    tcp_stream moved(std::move(ours));
    EXPECT_FALSE(ours);  // NOLINT(bugprone-use-after-move)
    write_text(moved, "a");
    tcp_stream assigned;
    assigned = std::move(moved);
    write_text(assigned, "b");
    EXPECT_EQ(read_text(peers, 2), "ab");
    assigned = tcp_stream();  // closes
    char c = 0;
    EXPECT_EQ(peers.read_some(std::span(&c, 1)), 0u);
  });
}

TEST(tcp, travels_through_a_channel) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft::chan<tcp_stream> c(1);
    c.send(std::move(ours));
    auto received = *c.recv();
    write_text(received, "x");
    EXPECT_EQ(read_text(peers, 1), "x");
  });
}

TEST(tcp, the_end_is_an_end_each_time) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    write_text(peers, "last");
    peers.close();
    EXPECT_EQ(read_text(ours, 4), "last");
    char c = 0;
    for (int i = 0; i < 3; ++i) EXPECT_EQ(ours.read_some(std::span(&c, 1)), 0u);
    std::error_code error;
    EXPECT_EQ(ours.read_exactly(std::span(&c, 1), error), 0u);
    EXPECT_EQ(error, std::errc::connection_aborted);
  });
}

// The end comes in the same segment as the data, and the buffer has room for more: the next read must not wait for
// another edge.
TEST(tcp, the_end_is_seen_right_after_a_short_read) {
  weft::run([] {
    for (int i = 0; i < 200; ++i) {
      auto [ours, peers] = connected_pair();
      auto reader = weft::spawn([&ours = ours] {
        std::array<char, 100> room{};
        std::string all;
        while (const auto n = ours.read_some(room)) all.append(room.data(), n);
        return all;
      });
      if (i % 2 == 0) until_waiting(1);
      write_text(peers, "data");
      peers.close();
      EXPECT_EQ(reader.join(), "data");
    }
  });
}

// The same with a reset behind the data, which may have arrived before the first read or after it.
TEST(tcp, a_reset_is_seen_right_after_a_short_read) {
  weft::run([] {
    for (int round = 0; round < 100; ++round) {
      auto [ours, peers] = connected_pair();
      auto reader = weft::spawn([&ours = ours] {
        std::array<char, 64> buffer;
        std::error_code error;
        while (!error && ours.read_some(buffer, error) != 0) {
        }
        return error;
      });
      if (round % 2 == 0) until_waiting(1);
      write_text(peers, "x");
      if (round % 4 < 2) weft::yield();
      reset_on_close(peers);
      peers.close();
      EXPECT_EQ(reader.join(), std::errc::connection_reset);
    }
  });
}

TEST(tcp, read_exactly_tells_how_much_came_before_the_end) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    write_text(peers, "abc");
    peers.shutdown_write();
    std::array<char, 8> room{};
    std::error_code error;
    EXPECT_EQ(ours.read_exactly(room, error), 3u);
    EXPECT_EQ(error, std::errc::connection_aborted);
    EXPECT_EQ(std::string(room.data(), 3), "abc");
    EXPECT_EQ(code_of([&, &ours = ours] { ours.read_exactly(room); }), std::errc::connection_aborted);
  });
}

// After the peer's half-close epoll keeps saying "readable": that must neither spin nor fail writes.
TEST(tcp, a_half_closed_connection_still_carries_the_other_way) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    peers.shutdown_write();
    char c = 0;
    EXPECT_EQ(ours.read_some(std::span(&c, 1)), 0u);
    auto reader = weft::spawn([&peers = peers] {
      std::size_t total = 0;
      std::vector<char> room(64 * 1024);
      while (const auto n = peers.read_some(std::span<char>(room))) total += n;
      return total;
    });
    const std::string block(1 << 20, 'y');
    for (int i = 0; i < 8; ++i) write_text(ours, block);
    ours.shutdown_write();
    EXPECT_EQ(reader.join(), 8u << 20);
    EXPECT_EQ(ours.read_some(std::span(&c, 1)), 0u);
  });
}

TEST(tcp, shut_down_writing_fails_further_writes) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    ours.shutdown_write();
    std::error_code error;
    ours.write_all(std::string_view("x"), error);
    EXPECT_EQ(error, std::errc::broken_pipe);
  });
}

TEST(tcp, a_write_to_a_dead_peer_is_an_error_and_no_signal) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    peers.close();
    std::error_code error;
    while (!error) ours.write_all(std::string_view("x"), error);
    EXPECT_TRUE(error == std::errc::broken_pipe || error == std::errc::connection_reset) << error.message();
    const std::span<const std::byte> piece = std::as_bytes(std::span("x", 1));
    ours.writev(std::span(&piece, 1), error);
    EXPECT_EQ(error, std::errc::broken_pipe);
    EXPECT_EQ(code_of([&ours = ours] { write_text(ours, "x"); }), std::errc::broken_pipe);
  });
}

TEST(tcp, a_reset_reaches_a_parked_reader_once) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    auto reader = weft::spawn([&ours = ours] {
      std::error_code first, second;
      char c = 0;
      ours.read_some(std::span(&c, 1), first);
      const auto n = ours.read_some(std::span(&c, 1), second);
      return std::tuple(first, second, n);
    });
    until_waiting(1);
    reset_on_close(peers);
    peers.close();
    const auto [first, second, n] = reader.join();
    EXPECT_EQ(first, std::errc::connection_reset);
    EXPECT_FALSE(second);
    EXPECT_EQ(n, 0u);
  });
}

TEST(tcp, a_reset_reaches_a_parked_writer) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    fill(ours);
    auto writer = weft::spawn([&ours = ours] {
      std::error_code error;
      const std::string block(1 << 20, 'z');
      ours.write_all(std::span<const char>(block), error);
      return error;
    });
    until_waiting(1);
    reset_on_close(peers);
    peers.close();
    const std::error_code error = writer.join();
    EXPECT_TRUE(error == std::errc::connection_reset || error == std::errc::broken_pipe) << error.message();
  });
}

constexpr std::size_t total = 32u << 20;

TEST(tcp, reader_and_writer_go_at_the_same_time) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    const auto pump = [](tcp_stream& s) {
      std::vector<char> block(64 * 1024);
      for (std::size_t sent = 0; sent < total; sent += block.size()) {
        for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>((sent + i) >> 3);
        s.write_all(std::span<const char>(block));
      }
      s.shutdown_write();
    };
    const auto drain = [](tcp_stream& s) {
      std::vector<char> room(50'000);
      std::size_t got = 0;
      bool right = true;
      while (const auto n = s.read_some(std::span<char>(room))) {
        for (std::size_t i = 0; i < n; ++i) right = right && room[i] == static_cast<char>((got + i) >> 3);
        got += n;
      }
      EXPECT_TRUE(right);
      EXPECT_EQ(got, total);
    };
    weft::scope s;
    for (tcp_stream* each : {&ours, &peers}) {
      s.go([=] { pump(*each); });
      s.go([=] { drain(*each); });
    }
    s.join();
  });
}

TEST(tcp, writers_do_not_interleave) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    constexpr std::size_t size = 300'000;
    weft::scope s;
    for (const char c : {'a', 'b', 'c'}) s.go([&ours = ours, c] { write_text(ours, std::string(size, c)); });
    std::string all;
    for (int i = 0; i < 3; ++i) {
      const std::string one = read_text(peers, size);
      EXPECT_EQ(one, std::string(size, one[0]));
      all += one[0];
    }
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, "abc");
    s.join();
  });
}

TEST(tcp, readers_queue_in_order) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    std::array<std::string, 4> got;
    weft::scope s;
    for (std::size_t i = 0; i < got.size(); ++i) {
      s.go([&ours = ours, &mine = got[i]] { mine = read_text(ours, 2); });
      until_waiting(i + 1);
    }
    write_text(peers, "1a2b3c4d");
    s.join();
    EXPECT_EQ(got, (std::array<std::string, 4>{"1a", "2b", "3c", "4d"}));
  });
}

TEST(tcp, writes_many_pieces) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    std::vector<std::string> texts;
    std::string whole;
    for (int i = 0; i < 300; ++i) {
      texts.push_back(i % 7 == 0 ? "" : std::string(static_cast<std::size_t>(i) * 37, static_cast<char>('a' + i % 26)));
      whole += texts.back();
    }
    std::vector<std::span<const std::byte>> pieces;
    for (const auto& each : texts) pieces.push_back(std::as_bytes(std::span(each)));
    auto reader = weft::spawn([&peers = peers, n = whole.size()] { return read_text(peers, n); });
    EXPECT_EQ(ours.writev(pieces), whole.size());
    EXPECT_EQ(reader.join(), whole);
    EXPECT_EQ(ours.writev({}), 0u);
  });
}

TEST(tcp, nothing_to_read_or_to_write_waits_for_nothing) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    EXPECT_EQ(ours.read_some(std::span<char>()), 0u);
    EXPECT_EQ(ours.read_exactly(std::span<char>()), 0u);
    EXPECT_EQ(ours.write_all(std::span<const char>()), 0u);
    EXPECT_EQ(ours.write_some(std::span<const char>()), 0u);
  });
}

TEST(tcp, sends_small_writes_at_once_unless_told_otherwise) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    const auto no_delay = [](tcp_stream& s) {
      int value = -1;
      socklen_t length = sizeof value;
      EXPECT_EQ(getsockopt(s.native_handle(), IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
      return value != 0;
    };
    EXPECT_TRUE(no_delay(ours));
    EXPECT_TRUE(no_delay(peers));
    peers.set_no_delay(false);
    EXPECT_FALSE(no_delay(peers));
    peers.set_no_delay();
    EXPECT_TRUE(no_delay(peers));
  });
}

TEST(tcp, options_have_setters) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    ours.set_keep_alive(1500ms, 3s, 4);
    EXPECT_EQ(ours.get_option<int>(SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(ours.get_option<int>(IPPROTO_TCP, TCP_KEEPIDLE), 2);  // whole seconds, rounded up
    EXPECT_EQ(ours.get_option<int>(IPPROTO_TCP, TCP_KEEPINTVL), 3);
    EXPECT_EQ(ours.get_option<int>(IPPROTO_TCP, TCP_KEEPCNT), 4);
    ours.set_keep_alive(false);
    EXPECT_EQ(ours.get_option<int>(SOL_SOCKET, SO_KEEPALIVE), 0);
    std::error_code error;
    ours.set_keep_alive(0s, 1s, 1, error);
    EXPECT_EQ(error, std::errc::invalid_argument);
    EXPECT_EQ(code_of([&, &s = ours] { s.set_keep_alive(1s, 100'000h, 1); }), std::errc::invalid_argument);
    EXPECT_EQ(code_of([&, &s = ours] { s.set_keep_alive(1s, 1s, 1000); }), std::errc::invalid_argument);
    ours.set_option(SOL_SOCKET, SO_RCVBUF, 10'000);
    EXPECT_EQ(ours.get_option<int>(SOL_SOCKET, SO_RCVBUF), 20'000);  // as the kernel counts
    EXPECT_NE(message_of([&, &s = ours] { s.set_option(12345, 1, 1); }).find("option 1 of level 12345"),
              std::string::npos);
    EXPECT_EQ(ours.get_option<int>(12345, 1, error), 0);
    EXPECT_TRUE(error);
    ours.set_linger(2s);
    const auto is = ours.get_option<linger>(SOL_SOCKET, SO_LINGER);
    EXPECT_TRUE(is.l_onoff == 1 && is.l_linger == 2);
    ours.set_linger(std::nullopt);
    EXPECT_EQ(ours.get_option<linger>(SOL_SOCKET, SO_LINGER).l_onoff, 0);
    ours.set_linger(0s);
    ours.close();  // by a reset
    char c = 0;
    EXPECT_EQ(code_of([&, &s = peers] { s.read_some(std::span(&c, 1)); }), std::errc::connection_reset);
    EXPECT_EQ(code_of([&, &s = ours] { s.set_keep_alive(false); }), std::errc::operation_canceled);
    EXPECT_EQ(code_of([] { tcp_stream().set_linger(0s); }), std::errc::bad_file_descriptor);
  });
}

// One byte there and back, parked between all of them, with a third fiber that never rests: each edge must find its
// fiber.
TEST(tcp, no_edge_is_lost) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    std::atomic<bool> over{false};
    weft::scope s;
    s.go([&] {
      while (!over.load()) weft::yield();
    });
    constexpr int rounds = 20'000;
    s.go([&peers = peers] {
      char c = 0;
      for (int i = 0; i < rounds; ++i) {
        peers.read_exactly(std::span(&c, 1));
        peers.write_all(std::span<const char>(&c, 1));
      }
    });
    for (int i = 0; i < rounds; ++i) {
      char c = static_cast<char>(i);
      ours.write_all(std::span<const char>(&c, 1));
      char back = 0;
      ours.read_exactly(std::span(&back, 1));
      ASSERT_EQ(back, c);
    }
    over = true;
    s.join();
  });
}

// Urgent data splits the stream: a read stops short at the mark though more is there.
TEST(tcp, urgent_data_does_not_stall_a_reader) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    auto reader = weft::spawn([&ours = ours] {
      std::array<char, 100> room{};
      std::string all;
      while (const auto n = ours.read_some(room)) all.append(room.data(), n);
      return all;
    });
    for (int i = 0; i < 100; ++i) {
      write_text(peers, "data");
      ASSERT_EQ(::send(peers.native_handle(), "!", 1, MSG_OOB), 1);
      write_text(peers, "more");
    }
    peers.close();
    const std::string all = reader.join();
    EXPECT_GE(all.size(), 800u);
    std::string without;
    for (const char c : all)
      if (c != '!') without += c;
    std::string expected;
    for (int i = 0; i < 100; ++i) expected += "datamore";
    EXPECT_EQ(without, expected);
  });
}

TEST(tcp, serves_plain_threads) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    std::thread client([&] {
      auto s = weft::net::connect(listener.local_endpoint().to_string());
      write_text(s, "hello");
      EXPECT_EQ(read_text(s, 5), "HELLO");
    });
    auto s = *listener.accept();
    EXPECT_EQ(read_text(s, 5), "hello");
    write_text(s, "HELLO");
    weft::blocking([&] { client.join(); });
  });
}

TEST(tcp, a_plain_thread_that_waits_is_released_by_the_end) {
  std::thread reader;
  std::error_code error;
  weft::net::tcp_stream kept, peer;
  weft::run([&] {
    auto [ours, peers] = connected_pair();
    kept = std::move(ours);
    peer = std::move(peers);
    reader = std::thread([&] {
      char c = 0;
      kept.read_some(std::span(&c, 1), error);  // wherever it is when the runtime ends: it comes back
    });
  });
  reader.join();
  EXPECT_EQ(error, std::errc::operation_canceled);
}

TEST(tcp, works_in_one_runtime_after_the_other) {
  for (int i = 0; i < 5; ++i) {
    weft::run([] {
      auto [ours, peers] = connected_pair();
      write_text(ours, "again");
      EXPECT_EQ(read_text(peers, 5), "again");
    });
  }
}

TEST(tcp, many_connections_at_once) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    constexpr int clients = 300;
    weft::scope s;
    s.go([&] {
      weft::scope connections(weft::collect);
      for (int i = 0; i < clients; ++i)
        connections.go([stream = *listener.accept()]() mutable { weft::io::copy(stream, stream); });
      connections.join();
      EXPECT_EQ(connections.error_count(), 0u);
    });
    std::atomic<int> right{0};
    for (int i = 0; i < clients; ++i)
      s.go([&, i] {
        auto stream = weft::net::connect(listener.local_endpoint().to_string());
        for (int round = 0; round < 20; ++round) {
          const std::string text = std::to_string(i) + '/' + std::to_string(round);
          write_text(stream, text);
          if (read_text(stream, text.size()) == text) ++right;
        }
      });
    s.join();
    EXPECT_EQ(right.load(), clients * 20);
  });
}

TEST(io, copy_counts_and_leaves_the_end_to_the_caller) {
  weft::run([] {
    auto [a, b] = connected_pair();
    auto [c, d] = connected_pair();
    auto copied = weft::spawn([&b = b, &c = c] { return weft::io::copy(b, c); });
    write_text(a, std::string(100'000, 'q'));
    a.shutdown_write();
    EXPECT_EQ(read_text(d, 100'000), std::string(100'000, 'q'));
    EXPECT_EQ(copied.join(), 100'000u);
    d.set_read_deadline(weft::clock::now() + 1ms);
    std::error_code error;
    char x = 0;
    d.read_some(std::span(&x, 1), error);
    EXPECT_EQ(error, std::errc::timed_out);  // and not an end
    std::error_code none = std::make_error_code(std::errc::io_error);
    EXPECT_EQ(weft::io::copy(b, c, none), 0u);
    EXPECT_FALSE(none);
  });
}

}  // namespace
