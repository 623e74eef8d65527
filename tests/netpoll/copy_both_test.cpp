// SPDX-License-Identifier: Apache-2.0
//
// io::copy_both: two directions, each with an end of its own; whatever ends one by force ends both, and nothing is left
// behind.

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::fd;
using weft::net::tcp_stream;

/// Not one of weft's own, so that the generic way is taken; keeps its calls as a TLS stream would.
class own_stream {
 public:
  explicit own_stream(tcp_stream s) : stream_(std::move(s)) {}
  std::size_t read_some(std::span<std::byte> to) { return stream_.read_some(to); }
  std::size_t read_some(std::span<std::byte> to, std::error_code& error) { return stream_.read_some(to, error); }
  void write_all(std::span<const std::byte> from) { stream_.write_all(from); }
  void write_all(std::span<const std::byte> from, std::error_code& error) { stream_.write_all(from, error); }
  void shutdown_write(std::error_code& error) { stream_.shutdown_write(error); }
  void close() { stream_.close(); }
  void set_read_deadline(weft::clock::time_point when) { stream_.set_read_deadline(when); }

 private:
  tcp_stream stream_;
};
static_assert(weft::io::two_way<own_stream>);
static_assert(weft::io::two_way<tcp_stream>);
static_assert(weft::io::two_way<weft::net::unix_stream>);
static_assert(weft::io::two_way<fd>);
static_assert(!weft::io::two_way<weft::io::reader<tcp_stream>>);

std::string random_text(std::size_t size) {
  std::mt19937 random(13);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

std::string read_all(weft::net::byte_stream& from) {
  std::string got;
  std::array<char, 30'000> chunk;
  while (const std::size_t n = from.read_some(chunk)) got.append(chunk.data(), n);
  return got;
}

// client <-> a, b <-> server, and copy_both between a and b
template <class Stream>
struct proxy {
  tcp_stream client, server;
  Stream a, b;
};
template <class Stream = tcp_stream>
proxy<Stream> proxy_of() {
  auto front = connected_pair(), back = connected_pair();
  return {std::move(front.ours), std::move(back.ours), Stream(std::move(front.peers)), Stream(std::move(back.peers))};
}

template <class Stream>
void expect_both_ways(proxy<Stream> p) {
  const std::string request = random_text(700'001), answer = random_text(1'100'003);
  weft::scope s;
  s.go([&] {
    p.client.write_all(request);
    p.client.shutdown_write();
  });
  s.go([&] {
    EXPECT_TRUE(read_all(p.server) == request);  // ends, though the other direction goes on
    p.server.write_all(answer);
    p.server.shutdown_write();
  });
  s.go([&] { EXPECT_TRUE(read_all(p.client) == answer); });
  std::error_code error;
  const auto [sent, received] = weft::io::copy_both(p.a, p.b, error);
  EXPECT_FALSE(error) << error.message();
  EXPECT_EQ(sent, request.size());
  EXPECT_EQ(received, answer.size());
  s.join();
}

TEST(copy_both, passes_each_end_on_and_counts) {
  weft::run([] {
    expect_both_ways(proxy_of());
    expect_both_ways(proxy_of<own_stream>());
  });
}

TEST(copy_both, returns_when_the_later_direction_has_ended) {
  weft::run([] {
    auto p = proxy_of();
    auto both = weft::spawn([&] { return weft::io::copy_both(p.a, p.b); });
    p.server.shutdown_write();  // this time the server is done first
    EXPECT_EQ(read_all(p.client), "");
    write_text(p.client, "abc");
    EXPECT_EQ(read_text(p.server, 3), "abc");
    EXPECT_FALSE(both.done());
    p.client.shutdown_write();
    const auto [sent, received] = both.join();
    EXPECT_EQ(sent, 3u);
    EXPECT_EQ(received, 0u);
  });
}

TEST(copy_both, between_a_tcp_stream_and_a_unix_stream) {
  weft::run([] {
    auto front = connected_pair();
    auto [b, server] = weft::net::pair();
    auto both = weft::spawn([&, &b = b] { return weft::io::copy_both(front.peers, b); });
    write_text(front.ours, "ping");
    front.ours.shutdown_write();
    EXPECT_EQ(read_all(server), "ping");
    write_text(server, "answer");
    server.shutdown_write();
    EXPECT_EQ(read_all(front.ours), "answer");
    const auto [sent, received] = both.join();
    EXPECT_EQ(sent, 4u);
    EXPECT_EQ(received, 6u);
  });
}

// However it is ended by force, it ends at once, in both directions, in both forms.
template <class Stream, class End>
void expect_an_end_by(std::errc code, End end) {
  {
    auto p = proxy_of<Stream>();
    std::error_code error;
    auto both = weft::spawn([&] { return weft::io::copy_both(p.a, p.b, error); });
    write_text(p.client, "abc");
    EXPECT_EQ(read_text(p.server, 3), "abc");
    until_waiting(2);
    end(p);
    EXPECT_EQ(both.join().a_to_b, 3u);
    EXPECT_EQ(error, code) << error.message();
  }
  auto p = proxy_of<Stream>();
  auto both = weft::spawn([&] { return code_of([&] { weft::io::copy_both(p.a, p.b); }); });
  until_waiting(2);
  end(p);
  EXPECT_EQ(both.join(), code);
}

template <class Stream>
void expect_an_end_by_all() {
  const auto past = [] { return weft::clock::now() - 1ms; };
  expect_an_end_by<Stream>(std::errc::operation_canceled, [](auto& p) { p.a.close(); });
  expect_an_end_by<Stream>(std::errc::operation_canceled, [](auto& p) { p.b.close(); });
  expect_an_end_by<Stream>(std::errc::timed_out, [&](auto& p) { p.a.set_read_deadline(past()); });
  expect_an_end_by<Stream>(std::errc::timed_out, [&](auto& p) { p.b.set_read_deadline(past()); });
  expect_an_end_by<Stream>(std::errc::connection_reset, [](auto& p) {
    reset_on_close(p.client);
    p.client.close();
  });
  expect_an_end_by<Stream>(std::errc::connection_reset, [](auto& p) {
    reset_on_close(p.server);
    p.server.close();
  });
}

TEST(copy_both, ends_both_ways_by_a_close_a_deadline_or_an_error_of_either) {
  weft::run([] { expect_an_end_by_all<tcp_stream>(); });
}
TEST(copy_both, ends_both_ways_also_between_streams_of_the_program) {
  weft::run([] { expect_an_end_by_all<own_stream>(); });
}

TEST(copy_both, that_stalls_in_both_directions_ends_by_a_close) {
  weft::run([] {
    auto p = proxy_of();
    fill(p.a);
    fill(p.b);
    write_text(p.client, "x");
    write_text(p.server, "y");
    auto both = weft::spawn([&] { return code_of([&] { weft::io::copy_both(p.a, p.b); }); });
    until_waiting(2);
    p.a.close();
    EXPECT_EQ(both.join(), std::errc::operation_canceled);
  });
}

TEST(copy_both, whose_one_direction_has_ended_is_ended_by_a_close) {
  weft::run([] {
    auto p = proxy_of();
    auto both = weft::spawn([&] { return code_of([&] { weft::io::copy_both(p.a, p.b); }); });
    p.client.shutdown_write();
    EXPECT_EQ(read_all(p.server), "");
    until_waiting(2);  // the child, and the owner in its join
    p.a.close();
    EXPECT_EQ(both.join(), std::errc::operation_canceled);
  });
}

TEST(copy_both, says_whose_error_it_was) {
  weft::run([] {
    auto p = proxy_of();
    p.b.set_read_deadline(weft::clock::now() - 1ms);
    EXPECT_NE(message_of([&] { weft::io::copy_both(p.a, p.b); }).find("copy_both: read from the second stream"),
              std::string::npos);
    fd none;
    EXPECT_EQ(code_of([&] { weft::io::copy_both(p.a, none); }), std::errc::bad_file_descriptor);
  });
}

TEST(copy_both, is_cancelled_and_leaves_no_fiber_behind) {
  weft::run([] {
    for (const bool one_has_ended : {false, true}) {
      auto p = proxy_of();
      if (one_has_ended) p.client.shutdown_write();
      const std::size_t before = weft::num_fibers();
      EXPECT_THROW(weft::with_timeout(10ms, [&] { weft::io::copy_both(p.a, p.b); }), weft::timed_out);
      until([&] { return weft::num_fibers() == before; });
      if (one_has_ended) {
        EXPECT_EQ(read_all(p.server), "");
      }
    }
    for (const char* ended : {"none", "the caller's direction", "the child's"}) {
      auto p = proxy_of();
      std::size_t waiters = 2;  // where its own has ended, the caller waits for the child
      std::error_code error;
      auto both = weft::spawn([&] { weft::io::copy_both(p.a, p.b, error); });
      if (std::string_view(ended) == "the caller's direction") {
        p.client.shutdown_write();
        EXPECT_EQ(read_all(p.server), "");
      } else if (std::string_view(ended) == "the child's") {
        p.server.shutdown_write();
        EXPECT_EQ(read_all(p.client), "");
        waiters = 1;
      }
      until_waiting(waiters);
      both.cancel();
      EXPECT_NO_THROW(both.join()) << ended;  // its form does not throw
      EXPECT_EQ(error, std::errc::operation_canceled) << ended;
    }
  });
}

TEST(copy_both, that_is_cancelled_at_its_entry_touches_nothing) {
  weft::run([] {
    auto p = proxy_of();
    write_text(p.client, "abc");
    weft::cancel_scope ended;
    ended.cancel();
    const bool completed = ended.run([&] {
      std::error_code error;
      weft::io::copy_both(p.a, p.b, error);
      EXPECT_EQ(error, std::errc::operation_canceled);
      weft::io::copy_both(p.a, p.b);
    });
    EXPECT_FALSE(completed);
    EXPECT_EQ(read_text(p.a, 3), "abc");
  });
}

TEST(copy_both, in_a_failed_scope_leaves_the_error_to_the_next_wait) {
  weft::run([] {
    auto p = proxy_of();
    std::error_code error;
    const std::string said = message_of([&] {
      weft::scope s;
      s.go([] {
        until_waiting(2);
        throw std::runtime_error("the sibling's");
      });
      weft::io::copy_both(p.a, p.b, error);
      EXPECT_EQ(error, std::errc::operation_canceled);
      s.join();
    });
    EXPECT_EQ(said, "the sibling's");
    EXPECT_EQ(message_of([&] {
                weft::scope s;
                s.go([] {
                  until_waiting(2);
                  throw std::runtime_error("the sibling's");
                });
                weft::io::copy_both(p.a, p.b);
              }),
              "the sibling's");
  });
}

TEST(copy_both, closes_what_cannot_be_told_an_end) {
  weft::run([] {
    auto front = connected_pair();
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fd b(ends[0]), server(ends[1]);
    std::error_code error;
    auto both = weft::spawn([&] { return weft::io::copy_both(front.peers, b, error); });
    write_text(server, "banner");
    EXPECT_EQ(read_text(front.ours, 6), "banner");
    write_text(front.ours, "bye");
    front.ours.shutdown_write();
    EXPECT_EQ(read_all(server), "bye");   // its end can only be seen since b is closed
    EXPECT_EQ(read_all(front.ours), "");  // so nothing more can come back, and that is told
    const auto [sent, received] = both.join();
    EXPECT_FALSE(error) << error.message();  // which is an end, and no error
    EXPECT_EQ(sent, 3u);
    EXPECT_EQ(received, 6u);
    EXPECT_EQ(b.native_handle(), -1);
  });
}

/// Throws what is no std::system_error, in either form.
struct broken_stream {
  std::size_t read_some(std::span<std::byte>) { throw std::runtime_error("no network today"); }
  std::size_t read_some(std::span<std::byte> to, std::error_code&) { return read_some(to); }
  void write_all(std::span<const std::byte>) {}
  void write_all(std::span<const std::byte>, std::error_code&) {}
  void close() {}
};

TEST(copy_both, passes_what_a_stream_of_the_program_throws_through) {
  weft::run([] {
    auto p = proxy_of();
    broken_stream broken;
    std::error_code error;
    EXPECT_EQ(message_of([&] { weft::io::copy_both(p.a, broken); }), "no network today");
    EXPECT_EQ(message_of([&] { weft::io::copy_both(broken, p.a, error); }), "no network today");
  });
}

TEST(copy_both, for_which_no_fiber_is_to_be_had_says_so) {
  weft::run({.max_fibers = 1}, [] {
    auto [a, client] = weft::net::pair();
    auto [b, server] = weft::net::pair();
    write_text(client, "abc");
    std::error_code error;
    EXPECT_EQ(weft::io::copy_both(a, b, error).a_to_b, 0u);
    EXPECT_EQ(error, std::errc::resource_unavailable_try_again);
    EXPECT_EQ(code_of([&, &a = a, &b = b] { weft::io::copy_both(a, b); }), std::errc::resource_unavailable_try_again);
    EXPECT_EQ(read_text(a, 3), "abc");
  });
}

TEST(copy_both, of_many_pairs_that_are_closed_cancelled_and_reset_at_random_leaves_nothing) {
  weft::run([] {
    std::mt19937 random(3);
    for (int round = 0; round < 60; ++round) {
      auto p = proxy_of();
      std::error_code error;
      auto both = weft::spawn([&] { weft::io::copy_both(p.a, p.b, error); });
      weft::scope peers(weft::collect);
      for (tcp_stream* each : {&p.client, &p.server})
        peers.go([each] {
          std::array<char, 4096> some{};
          for (;;) {
            each->write_all(some);
            each->read_exactly(some);
          }
        });
      for (unsigned turns = random() % 50; turns != 0; --turns) weft::yield();
      switch (random() % 5) {
        case 0:
          p.a.close();
          break;
        case 1:
          p.b.set_deadline(weft::clock::now());
          break;
        case 2:
          both.cancel();
          break;
        case 3:
          reset_on_close(p.client);  // an end alone would leave the way back open
          p.client.close();
          break;
        default:
          p.a.close();
          both.cancel();
      }
      both.join();
      p.a.close();
      p.b.close();
      peers.cancel();
      peers.join();
    }
  });
}

TEST(copy_both, works_on_a_plain_thread_whose_other_direction_fails) {
  weft::run([] {
    auto p = proxy_of();
    std::error_code error;
    weft::event done;
    std::jthread thread([&] {
      weft::io::copy_both(p.a, p.b, error);
      done.set();
    });
    write_text(p.client, "abc");
    EXPECT_EQ(read_text(p.server, 3), "abc");
    p.b.close();
    done.wait();
    EXPECT_EQ(error, std::errc::operation_canceled);
  });
}

}  // namespace
