// SPDX-License-Identifier: Apache-2.0
//
// Readiness that nothing is behind. The kernel may report some, and every operation must look again; here one fiber
// invents edges for all descriptors without a pause.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <system_error>

#include "netpoll/open.hpp"
#include "tests/netpoll/loopback.hpp"
#include "tests/netpoll/silent_address.hpp"
#include "tests/support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;

/// While it lives, edges come from nowhere for the first descriptors of the process. (The generation of a slot is
/// guessed: it is one more with each use.)
class false_edges {
 public:
  false_edges() {
    fiber_ = weft::spawn([this] {
      choices choose(0);
      while (!over_.load(std::memory_order_relaxed)) {
        weft::rt::g_list woken;
        weft::rt::readiness what;
        what.readable = !choose.one_in(4);
        what.writable = !choose.one_in(4);
        for (std::uint32_t index = 1; index <= 8; ++index)
          for (std::uint32_t generation = 1; generation <= 16; ++generation)
            if (weft::rt::descriptor_at(index).event(generation, what, woken)) ++made_;
        weft::rt::wake_all(woken);
        weft::yield();
      }
    });
    until([this] { return made_.load() > 0; });
  }
  ~false_edges() {
    over_ = true;
    fiber_.join();
  }

 private:
  std::atomic<bool> over_{false};
  std::atomic<std::uint64_t> made_{0};
  weft::fiber<void> fiber_;
};

class spurious_readiness : public stress {};

TEST_F(spurious_readiness, streams_carry_what_was_written_and_no_more) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    false_edges noise;
    weft::scope s;
    s.go([&peers = peers] {
      std::array<char, 64> buffer;
      while (const std::size_t n = peers.read_some(buffer)) peers.write_all(std::span<const char>(buffer).first(n));
      peers.shutdown_write();
    });
    for (int i = 0; i < scaled(500); ++i) {
      const std::string sent = std::to_string(i);
      write_text(ours, sent);
      ASSERT_EQ(read_text(ours, sent.size()), sent);
    }
    ours.shutdown_write();
    char end;
    EXPECT_EQ(ours.read_some(std::span(&end, 1)), 0u);
    s.join();
  });
}

TEST_F(spurious_readiness, a_full_writer_goes_on_only_when_there_is_room) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    false_edges noise;
    const std::string sent(static_cast<std::size_t>(scaled(2'000'000)), 'w');
    auto writer = weft::spawn([&, &ours = ours] {
      ours.write_all(std::span<const char>(sent));
      ours.shutdown_write();
    });
    std::size_t got = 0;
    std::array<char, 10'000> chunk;
    while (const std::size_t n = peers.read_some(chunk)) got += n;
    EXPECT_EQ(got, sent.size());
    writer.join();
  });
}

TEST_F(spurious_readiness, accept_and_connect_wait_for_a_connection) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    silent_address silent;
    false_edges noise;
    weft::scope s;
    s.go([&] {
      for (int i = 0; i < 20; ++i) {
        auto stream = listener.accept();
        write_text(*stream, "x");
      }
    });
    for (int i = 0; i < 20; ++i) {
      auto stream = weft::net::connect(listener.local_endpoint().to_string());
      EXPECT_EQ(read_text(stream, 1), "x");
    }
    s.join();
    EXPECT_THROW(weft::with_timeout(20ms, [&] { weft::net::connect(silent.where.to_string()); }), weft::timed_out);
    listener.set_read_deadline(weft::clock::now() + 20ms);
    std::error_code error;
    EXPECT_FALSE(listener.accept(error));
    EXPECT_EQ(error, std::errc::timed_out);
  });
}

TEST_F(spurious_readiness, datagrams_and_pipes) {
  weft::run([] {
    auto a = weft::net::udp_socket::bind("127.0.0.1:0");
    auto b = weft::net::udp_socket::bind("127.0.0.1:0");
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    weft::net::fd out(ends[0]), in(ends[1]);
    false_edges noise;
    weft::scope s;
    s.go([&] {
      std::array<char, 16> buffer;
      for (int i = 0; i < 100; ++i) {
        out.wait_readable();
        EXPECT_EQ(read_text(out, 1), "p");
        EXPECT_EQ(a.recv_from(buffer).bytes, 3u);
      }
    });
    for (int i = 0; i < 100; ++i) {
      write_text(in, "p");
      b.send_to(std::string_view("udp"), a.local_endpoint());
      weft::yield();
    }
    s.join();
    out.set_read_deadline(weft::clock::now() + 10ms);
    EXPECT_EQ(code_of([&] { out.wait_readable(); }), std::errc::timed_out);
  });
}

}  // namespace
