// SPDX-License-Identifier: Apache-2.0
//
// Servers and clients over a bad network (tests/support/fault_proxy.hpp). While it only delays and cuts pieces,
// everything arrives; when it loses connections, each side is told, or its deadline tells it, and neither side loses a
// fiber or a descriptor, nor anybody else's bytes.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <charconv>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "tests/netpoll/loopback.hpp"
#include "tests/support/descriptors.hpp"
#include "tests/support/fault_proxy.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::tcp_stream;

std::string random_text(choices& choose, std::size_t size) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>('a' + choose.below(26));
  return text;
}

/// What a connection over a bad network may end with. A time-out is one of ours.
bool is_a_loss(const std::error_code& error) {
  return error == std::errc::connection_reset || error == std::errc::broken_pipe || error == std::errc::timed_out ||
         error == std::errc::connection_aborted;
}

/// Serves until the listener is closed; a peer that is silent for long is dropped.
void serve_echo(weft::net::tcp_listener& listener, std::chrono::milliseconds patience) {
  weft::scope connections(weft::collect);
  while (auto stream = listener.accept())
    connections.go([stream = std::move(*stream), patience]() mutable {
      std::array<char, 1000> buffer;
      std::error_code error;
      for (;;) {
        stream.set_deadline(weft::clock::now() + patience);
        const std::size_t n = stream.read_some(buffer, error);
        if (n == 0) break;
        stream.write_all(std::span<const char>(buffer).first(n), error);
        if (error) break;
      }
      if (error) {
        EXPECT_TRUE(is_a_loss(error)) << error.message();
      } else {
        stream.shutdown_write(error);
      }
    });
  connections.join();
}

class bad_network : public stress {
 protected:
  void SetUp() override {
    stress::SetUp();
    weft::run([] { static_cast<void>(connected_pair()); });  // the poller's own descriptors are open from here on
    before_ = open_descriptors();
  }
  void TearDown() override {
    EXPECT_EQ(open_descriptors(), before_);
    stress::TearDown();
  }

 private:
  std::vector<std::string> before_;
};

TEST_F(bad_network, that_only_delays_and_cuts_loses_nothing) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    weft::scope server;
    server.go([&] { serve_echo(listener, 60s); });
    {
      fault_proxy proxy(listener.local_endpoint(), harmless_faults);
      weft::scope clients;
      for (int client = 0; client < 20; ++client)
        clients.go([&, client] {
          choices choose(1000u + static_cast<unsigned>(client));
          auto stream = weft::net::connect(proxy.address);
          const std::string sent = random_text(choose, choose.below(3000));
          weft::scope both;
          both.go([&] {
            stream.write_all(std::span<const char>(sent));
            stream.shutdown_write();
          });
          std::string got;
          std::array<char, 300> buffer;
          while (const std::size_t n = stream.read_some(buffer)) got.append(buffer.data(), n);
          both.join();
          EXPECT_TRUE(got == sent) << got.size() << " of " << sent.size();
        });
      clients.join();
    }
    listener.close();
    server.join();
    EXPECT_EQ(weft::num_fibers(), 1u);
  });
}

TEST_F(bad_network, tells_both_sides_of_what_it_loses) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    weft::scope server;
    server.go([&] { serve_echo(listener, 500ms * slowdown); });
    std::atomic<int> whole{0}, lost{0};
    {
      fault_proxy proxy(listener.local_endpoint(), all_faults);
      weft::scope clients;
      for (int client = 0; client < 60; ++client)
        clients.go([&, client] {
          choices choose(2000u + static_cast<unsigned>(client));
          std::error_code error;
          auto stream = weft::net::connect(proxy.address, error);
          if (error) {  // reset before it was looked at
            ++lost;
            return;
          }
          stream.set_deadline(weft::clock::now() + 500ms * slowdown);
          const std::string sent = random_text(choose, 1 + choose.below(4000));
          std::error_code write_error;
          weft::scope both;
          both.go([&] {
            stream.write_all(std::span<const char>(sent), write_error);
            if (!write_error) stream.shutdown_write(write_error);
          });
          std::string got;
          std::array<char, 300> buffer;
          while (const std::size_t n = stream.read_some(buffer, error)) got.append(buffer.data(), n);
          both.join();
          EXPECT_EQ(std::string_view(sent).substr(0, got.size()), got);  // what arrives is what was sent, in order
          if (error) {
            EXPECT_TRUE(is_a_loss(error)) << error.message();
          }
          (got == sent ? whole : lost) += 1;
        });
      clients.join();
    }
    EXPECT_EQ(whole + lost, 60);
    // The server is as good as before.
    auto stream = weft::net::connect(listener.local_endpoint().to_string());
    write_text(stream, "still here");
    EXPECT_EQ(read_text(stream, 10), "still here");
    stream.close();
    listener.close();
    server.join();
    EXPECT_EQ(weft::num_fibers(), 1u);
  });
}

/// "GET n", headers, an empty line; the answer has a length and n bytes. One exchange after the other.
void serve_exchanges(weft::net::tcp_listener& listener, const std::atomic<bool>& patient) {
  weft::scope connections(weft::collect);
  while (auto stream = listener.accept())
    connections.go([stream = std::move(*stream), patience = patient ? 60s : 500ms * slowdown]() mutable {
      std::error_code error;
      stream.set_deadline(weft::clock::now() + patience);
      std::size_t wanted = 0;
      for (const std::string& line : weft::io::lines(stream, error, 100)) {
        if (line.starts_with("GET ")) std::from_chars(line.data() + 4, line.data() + line.size(), wanted);
        if (!line.empty()) continue;
        const std::string answer = "length: " + std::to_string(wanted) + "\r\n\r\n" + std::string(wanted, 'b');
        stream.write_all(std::span<const char>(answer), error);
        if (error) break;
      }
      if (error) {
        EXPECT_TRUE(is_a_loss(error)) << error.message();
      }
    });
  connections.join();
}

TEST_F(bad_network, an_exchange_is_whole_or_fails) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    weft::scope server;
    std::atomic<bool> patient{false};
    server.go([&] { serve_exchanges(listener, patient); });
    std::atomic<int> whole{0}, failed{0};
    for (const unsigned kinds : {harmless_faults, all_faults}) {
      patient = kinds == harmless_faults;
      fault_proxy proxy(listener.local_endpoint(), kinds);
      weft::scope clients;
      for (int client = 0; client < 20; ++client)
        clients.go([&, client] {
          choices choose(3000u + static_cast<unsigned>(client));
          try {
            auto stream = weft::net::connect(proxy.address);
            if (kinds == all_faults) stream.set_deadline(weft::clock::now() + 500ms * slowdown);
            for (int exchange = 0; exchange < 3; ++exchange) {
              const std::size_t wanted = choose.below(1500);
              const std::string request = "GET " + std::to_string(wanted) + "\r\nhost: here\r\n\r\n";
              stream.write_all(std::span<const char>(request));
              const std::string head = "length: " + std::to_string(wanted) + "\r\n\r\n";
              EXPECT_EQ(read_text(stream, head.size()), head);
              EXPECT_EQ(read_text(stream, wanted), std::string(wanted, 'b'));
            }
            ++whole;
          } catch (const std::system_error& error) {
            EXPECT_TRUE(is_a_loss(error.code())) << error.what();
            EXPECT_EQ(kinds, all_faults);
            ++failed;
          }
        });
      clients.join();
    }
    EXPECT_GE(whole, 20);
    EXPECT_EQ(whole + failed, 40);
    listener.close();
    server.join();
    EXPECT_EQ(weft::num_fibers(), 1u);
  });
}

// Peers that are gone without a word: nothing ever comes from them. Deadlines are what gets rid of them.
TEST_F(bad_network, peers_that_are_gone_without_a_word_are_dropped_by_deadlines) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    std::vector<tcp_stream> silent;
    weft::scope server;
    std::atomic<int> dropped{0};
    for (int i = 0; i < 50; ++i) silent.push_back(weft::net::connect(listener.local_endpoint().to_string()));
    for (int i = 0; i < 50; ++i)
      server.go([&, stream = *listener.accept()]() mutable {
        stream.set_read_deadline(weft::clock::now() + 5ms);
        EXPECT_EQ(code_of([&] { read_text(stream, 1); }), std::errc::timed_out);
        ++dropped;
      });
    server.join();
    EXPECT_EQ(dropped, 50);
    for (tcp_stream& each : silent) {  // when they come back they hear of it
      std::error_code error;
      each.set_deadline(weft::clock::now() + 60s);
      char c;
      EXPECT_EQ(each.read_some(std::span(&c, 1), error), 0u);
      EXPECT_FALSE(error) << error.message();
    }
  });
}

}  // namespace
