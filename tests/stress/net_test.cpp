// SPDX-License-Identifier: Apache-2.0
//
// Sockets of every kind while everything happens to them at once: reads, writes, deadlines that move, scopes that are
// cancelled, and a close at some moment. Each operation ends as it may end; what arrives is what was sent, in order; no
// fiber and no descriptor stays behind.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <string>
#include <system_error>

#include "tests/netpoll/loopback.hpp"
#include "tests/support/descriptors.hpp"
#include "tests/support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::byte_stream;

class net : public stress {};

bool may_end_with(const std::error_code& error) {
  return !error || error == std::errc::operation_canceled || error == std::errc::timed_out ||
         error == std::errc::broken_pipe || error == std::errc::connection_reset;
}

/// The n-th byte of what every writer writes.
char letter(std::size_t n) { return static_cast<char>('a' + n % 23); }

/// Runs `each` in a region that is cancelled now and then, until `over`.
template <class F>
void in_regions(choices& choose, const std::atomic<bool>& over, F each) {
  while (!over.load(std::memory_order_relaxed)) {
    weft::cancel_scope region;
    weft::scope canceller;
    if (choose.one_in(3))
      canceller.go([&region, pause = choose.up_to(100us)] {
        weft::sleep_for(pause);
        region.cancel();
      });
    region.run(each);
    canceller.join();
  }
}

template <class Stream>
void trouble(Stream& ours, Stream& peers, std::uint64_t number) {
  std::atomic<bool> over{false};
  std::atomic<std::size_t> written{0}, got{0};
  weft::scope s;
  s.go([&] {
    choices choose(number * 8 + 1);
    in_regions(choose, over, [&] {
      std::array<char, 700> piece;
      const std::size_t size = 1 + choose.below(700);
      const std::size_t from = written.load();
      for (std::size_t i = 0; i < size; ++i) piece[i] = letter(from + i);
      std::error_code error;
      written += ours.write_all(std::span<const char>(piece).first(size), error);
      EXPECT_TRUE(may_end_with(error)) << error.message();
      if (error) weft::yield();
    });
  });
  s.go([&] {
    choices choose(number * 8 + 2);
    in_regions(choose, over, [&] {
      std::array<char, 500> buffer;
      std::error_code error;
      const std::size_t n = peers.read_some(std::span(buffer).first(1 + choose.below(500)), error);
      EXPECT_TRUE(may_end_with(error)) << error.message();
      const std::size_t from = got.fetch_add(n);
      for (std::size_t i = 0; i < n; ++i)
        if (buffer[i] != letter(from + i)) {
          ADD_FAILURE() << "byte " << from + i << " is not what was sent";
          break;
        }
      if (n == 0) weft::yield();
    });
  });
  s.go([&] {
    choices choose(number * 8 + 3);
    while (!over.load(std::memory_order_relaxed)) {
      byte_stream& whose = choose.one_in(2) ? static_cast<byte_stream&>(ours) : static_cast<byte_stream&>(peers);
      whose.set_deadline(choose.one_in(3) ? weft::clock::time_point::max()
                                          : weft::clock::now() + choose.up_to(200us) - 50us);
      weft::sleep_for(choose.up_to(50us));
    }
  });
  choices choose(number * 8 + 4);
  weft::sleep_for(choose.up_to(3ms));
  weft::scope closers;
  for (byte_stream* each : {static_cast<byte_stream*>(&ours), static_cast<byte_stream*>(&peers)})
    closers.go([each, pause = choose.up_to(200us)] {
      weft::sleep_for(pause);
      each->close();
      EXPECT_EQ(each->native_handle(), -1);
    });
  closers.join();
  over = true;
  s.join();
  EXPECT_LE(got, written);
  std::error_code error;
  char c = 0;
  ours.write_some(std::span<const char>(&c, 1), error);
  EXPECT_EQ(error, std::errc::operation_canceled);
}

struct pipe_ends {
  weft::net::fd in, out;
};
pipe_ends pipe_of() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) abort();
  return {weft::net::fd(ends[1]), weft::net::fd(ends[0])};
}

TEST_F(net, streams_in_trouble) {
  weft::run([] { static_cast<void>(connected_pair()); });  // the poller's own descriptors are open from here on
  const auto before = open_descriptors();
  weft::run([] {
    auto listener = weft::net::listen_unix("@weft-stress-" + std::to_string(getpid()));
    weft::mutex turn;  // for whose connection the next accept takes
    weft::scope all({.limit = 8});
    for (unsigned i = 0; i < static_cast<unsigned>(scaled(150)); ++i)
      all.go([&, i] {
        if (i % 3 == 0) {
          auto [ours, peers] = connected_pair();
          trouble(ours, peers, i);
        } else if (i % 3 == 1) {
          auto [in, out] = pipe_of();
          trouble(in, out, i);
        } else {
          std::unique_lock guard(turn);
          auto ours = weft::net::connect_unix(listener.path());
          auto peers = *listener.accept();
          guard.unlock();
          trouble(ours, peers, i);
        }
      });
    all.join();
    EXPECT_EQ(weft::num_fibers(), 1u);
  });
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(net, datagrams_in_trouble) {
  weft::run([] {
    for (unsigned round = 0; round < static_cast<unsigned>(scaled(60)); ++round) {
      auto a = weft::net::udp_socket::bind("127.0.0.1:0");
      auto b = weft::net::udp_socket::bind("127.0.0.1:0");
      std::atomic<bool> over{false};
      weft::scope s;
      for (unsigned f = 0; f < 4; ++f)
        s.go([&, f] {
          choices choose(round * 8 + f);
          in_regions(choose, over, [&] {
            std::array<char, 64> buffer{};
            std::error_code error;
            if (f % 2 == 0) {
              const std::string sent(1 + choose.below(60), static_cast<char>('a' + choose.below(26)));
              if (choose.below(2) == 0) {
                a.send_to(std::span<const char>(sent), b.local_endpoint(), error);
              } else {
                std::array<weft::net::outgoing, 40> out;
                out.fill({sent, b.local_endpoint()});
                const std::size_t n = a.send_many(out, error);
                EXPECT_TRUE(error ? n == 0 : n >= 1 && n <= out.size());
              }
            } else if (choose.below(2) == 0) {
              std::array<weft::net::incoming, 16> in;
              for (std::size_t i = 0; i < in.size(); ++i) in[i].buffer = std::span(buffer).subspan(4 * i, 4);
              const std::size_t n = b.recv_many(in, error);
              EXPECT_TRUE(error ? n == 0 : n >= 1 && n <= in.size());
              for (const auto& each : std::span(in).first(n)) {
                EXPECT_EQ(each.from, a.local_endpoint());
                EXPECT_TRUE(std::all_of(each.buffer.begin(), each.buffer.begin() + static_cast<int>(each.bytes),
                                        [&](std::byte x) { return x == each.buffer[0]; }));
              }
            } else {
              const auto one = b.recv_from(buffer, error);
              if (!error) {
                EXPECT_EQ(one.from, a.local_endpoint());
                EXPECT_EQ(std::string(buffer.data(), one.bytes), std::string(one.bytes, buffer[0]));  // nothing mixed
              }
            }
            EXPECT_TRUE(may_end_with(error)) << error.message();
            if (error) weft::yield();
          });
        });
      choices choose(round * 8 + 5);
      for (int i = 0; i < 20; ++i) {
        b.set_read_deadline(weft::clock::now() + choose.up_to(100us) - 20us);
        weft::sleep_for(choose.up_to(50us));
      }
      b.set_read_deadline(weft::clock::time_point::max());
      b.close();
      over = true;
      s.join();
    }
    EXPECT_EQ(weft::num_fibers(), 1u);
  });
}

}  // namespace
