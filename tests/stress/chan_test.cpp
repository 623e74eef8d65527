// SPDX-License-Identifier: Apache-2.0
//
// Channels under everything at once: many fibers and plain threads at both ends, tiny patience, close and cancellation
// in the middle. What is accounted for: a value whose send succeeded is received exactly once, one whose send did not
// succeed stays with its sender, and nothing of either is left over.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using weft::chan_status;
using weft_test::choices;
using weft_test::ledger;
using weft_test::parcel;
using weft_test::scaled;

class channel_stress : public weft_test::stress {};

struct book {
  explicit book(std::size_t size) : sent(size), received(size) {}
  ledger sent, received;
  std::atomic<std::size_t> sends{0}, receives{0};

  void note_sent(std::size_t number) {
    sent.mark(number);
    sends.fetch_add(1, std::memory_order_relaxed);
  }
  void note_received(const parcel& p) {
    EXPECT_TRUE(p.full());
    received.mark(p.number());
    receives.fetch_add(1, std::memory_order_relaxed);
  }
  void expect_balanced(std::size_t size) {
    EXPECT_EQ(sends.load(), receives.load());
    EXPECT_EQ(sent.strange(), 0u);
    EXPECT_EQ(received.strange(), 0u);
    std::size_t lost = 0;
    for (std::size_t i = 0; i < size; ++i) lost += sent.marked(i) != received.marked(i);
    EXPECT_EQ(lost, 0u);
  }
};

// One send by a way that is drawn; the value is out of the caller's hands when it returns.
void send_somehow(const weft::chan<parcel>& c, parcel p, choices& draw) {
  for (;;) {
    chan_status how = chan_status::ok;
    switch (draw.below(4)) {
      case 0:
        how = c.try_send(std::move(p));
        break;
      case 1:
        how = c.send_for(std::move(p), draw.up_to(20us));
        break;
      default:
        c.send(std::move(p));
    }
    if (how == chan_status::ok) return;
    if (how == chan_status::closed) throw weft::channel_closed("seen by a try");
    ASSERT_TRUE(p.full()) << "a send that did not happen took the value";
    weft::yield();
  }
}

std::optional<parcel> receive_somehow(const weft::chan<parcel>& c, choices& draw) {
  for (;;) {
    switch (draw.below(4)) {
      case 0:
      case 1: {
        auto [how, value] = draw.one_in(2) ? c.try_recv() : c.recv_for(draw.up_to(20us));
        if (how == chan_status::ok) return std::move(value);
        if (how == chan_status::closed) return std::nullopt;
        weft::yield();
        break;
      }
      default:
        return c.recv();
    }
  }
}

void many_to_many(std::size_t capacity, int senders, int receivers, bool threads, int each) {
  const auto size = static_cast<std::size_t>(senders * each);
  book b(size);
  weft::run([&] {
    weft::chan<parcel> c(capacity);
    auto send_all = [&](int who) {
      choices draw(static_cast<std::uint64_t>(who));
      for (int i = 0; i < each; ++i) {
        const auto number = static_cast<std::size_t>(who * each + i);
        send_somehow(c, parcel(number), draw);
        b.note_sent(number);
      }
    };
    auto receive_all = [&](int who) {
      choices draw(1000 + static_cast<std::uint64_t>(who));
      while (auto p = receive_somehow(c, draw)) b.note_received(*p);
    };
    std::vector<std::thread> plain;
    weft::wait_group sending;
    weft::scope s;
    for (int i = 0; i < senders; ++i) {
      sending.add();
      auto body = [&, i] {
        send_all(i);
        sending.done();
      };
      if (threads && i % 4 == 0)
        plain.emplace_back(body);
      else
        s.go(body);
    }
    for (int i = 0; i < receivers; ++i) {
      if (threads && i % 4 == 1)
        plain.emplace_back(receive_all, i);
      else
        s.go([&, i] { receive_all(i); });
    }
    sending.wait();
    c.close();
    s.join();
    weft::blocking([&] {
      for (std::thread& t : plain) t.join();
    });
  });
  b.expect_balanced(size);
  EXPECT_EQ(b.receives.load(), size);
  EXPECT_EQ(parcel::held.load(), 0);
}

TEST_F(channel_stress, unbuffered_many_to_many) { many_to_many(0, 16, 16, false, scaled(30'000)); }
TEST_F(channel_stress, a_buffer_of_one_many_to_few) { many_to_many(1, 24, 3, false, scaled(20'000)); }
TEST_F(channel_stress, a_large_buffer_few_to_many) { many_to_many(64, 3, 24, false, scaled(200'000)); }
TEST_F(channel_stress, unbuffered_with_plain_threads) { many_to_many(0, 8, 8, true, scaled(15'000)); }
TEST_F(channel_stress, buffered_with_plain_threads) { many_to_many(7, 8, 8, true, scaled(25'000)); }

TEST_F(channel_stress, close_in_the_middle_loses_nothing_that_was_sent) {
  for (int round = 0; round < scaled(2000); ++round) {
    choices shape(5000 + static_cast<std::uint64_t>(round));
    const std::size_t capacity = shape.below(4);
    const int senders = 1 + static_cast<int>(shape.below(6));
    const int receivers = 1 + static_cast<int>(shape.below(6));
    const unsigned close_after = shape.below(200);
    constexpr int each = 100;
    const auto size = static_cast<std::size_t>(senders * each);
    book b(size);
    std::atomic<int> refused{0};
    weft::run([&] {
      weft::chan<parcel> c(capacity);
      weft::scope s;
      for (int who = 0; who < senders; ++who) {
        s.go([&, who] {
          choices draw(static_cast<std::uint64_t>(who));
          for (int i = 0; i < each; ++i) {
            const auto number = static_cast<std::size_t>(who * each + i);
            try {
              send_somehow(c, parcel(number), draw);
            } catch (const weft::channel_closed&) {
              refused.fetch_add(1);
              return;
            }
            b.note_sent(number);
          }
        });
      }
      for (int who = 0; who < receivers; ++who) {
        s.go([&, who] {
          choices draw(1000 + static_cast<std::uint64_t>(who));
          while (auto p = receive_somehow(c, draw)) b.note_received(*p);
        });
      }
      s.go([&, c] {
        while (b.receives.load() < close_after && refused.load() == 0 && b.sends.load() < size) weft::yield();
        c.close();
      });
      s.join();
    });
    b.expect_balanced(size);
    ASSERT_EQ(parcel::held.load(), 0) << "round " << round;
  }
}

TEST_F(channel_stress, cancellation_in_the_middle_loses_nothing_that_was_sent) {
  const int rounds = scaled(2000);
  for (int round = 0; round < rounds; ++round) {
    choices shape(9000 + static_cast<std::uint64_t>(round));
    const std::size_t capacity = shape.below(3);
    constexpr int pairs = 6, each = 60;
    constexpr std::size_t size = pairs * each;
    book b(size);
    std::atomic<int> cancelled{0};
    weft::run([&] {
      weft::chan<parcel> c(capacity);
      std::vector<weft::fiber<void>> senders, receivers;
      for (int who = 0; who < pairs; ++who) {
        senders.push_back(weft::spawn([&, who] {
          choices draw(static_cast<std::uint64_t>(who));
          for (int i = 0; i < each; ++i) {
            const auto number = static_cast<std::size_t>(who * each + i);
            parcel p(number);
            try {
              if (draw.one_in(3)) {
                while (c.send_for(std::move(p), draw.up_to(30us)) != chan_status::ok) ASSERT_TRUE(p.full());
              } else {
                c.send(std::move(p));
              }
            } catch (const weft::cancelled&) {
              EXPECT_TRUE(p.full()) << "a cancelled send took the value";
              cancelled.fetch_add(1);
              throw;
            }
            b.note_sent(number);
          }
        }));
        receivers.push_back(weft::spawn([&, who] {
          choices draw(1000 + static_cast<std::uint64_t>(who));
          for (;;) {
            if (draw.one_in(3)) {
              auto [how, value] = c.recv_for(draw.up_to(30us));
              if (how == chan_status::closed) return;
              if (how == chan_status::ok) b.note_received(*value);
            } else {
              auto value = c.recv();
              if (!value) return;
              b.note_received(*value);
            }
          }
        }));
      }
      // Cancels come one by one, in an order that is drawn, while traffic goes on; some hit a wait, some a fiber that
      // has ended.
      for (int k = 0; k < 2 * pairs; ++k) {
        const unsigned turns = shape.below(30);
        for (unsigned t = 0; t < turns; ++t) weft::yield();
        auto& side = shape.one_in(2) ? senders : receivers;
        side[shape.below(pairs)].cancel();
      }
      for (auto& f : senders) f.cancel();
      for (auto& f : senders) {
        try {
          f.join();
        } catch (const weft::fiber_cancelled&) {
        }
      }
      for (auto& f : receivers) f.cancel();
      for (auto& f : receivers) {
        try {
          f.join();
        } catch (const weft::fiber_cancelled&) {
        }
      }
      c.close();
      while (auto p = c.recv()) b.note_received(*p);
    });
    b.expect_balanced(size);
    ASSERT_EQ(parcel::held.load(), 0) << "round " << round;
  }
}

TEST_F(channel_stress, a_ring_of_fibers_keeps_its_tokens) {
  constexpr int nodes = 64, tokens = 20;
  const int hops = scaled(1'000'000);
  weft::run([&] {
    std::vector<weft::chan<std::pair<int, int>>> links;
    for (int i = 0; i < nodes; ++i) links.emplace_back(i % 3);
    weft::chan<int> home(tokens);
    weft::scope s;
    for (int i = 0; i < nodes; ++i) {
      s.go([&, i] {
        for (auto [token, left] : links[static_cast<std::size_t>(i)]) {
          if (left == 0)
            home.send(token);
          else
            links[static_cast<std::size_t>((i + 1) % nodes)].send({token, left - 1});
        }
      });
    }
    for (int t = 0; t < tokens; ++t) links[static_cast<std::size_t>(t * 3)].send({t, hops / tokens});
    int sum = 0;
    for (int t = 0; t < tokens; ++t) sum += *home.recv();
    EXPECT_EQ(sum, tokens * (tokens - 1) / 2);
    for (auto& link : links) link.close();
    s.join();
  });
}

TEST_F(channel_stress, pairs_ping_and_pong) {
  constexpr int pairs = 32;
  const int trips = scaled(20'000);
  weft::run([&] {
    weft::scope s;
    std::atomic<long> sum{0};
    for (int i = 0; i < pairs; ++i) {
      weft::chan<int> ping, pong;
      s.go([&, ping, pong] {
        long mine = 0;
        for (int k = 0; k < trips; ++k) {
          ping.send(k);
          mine += *pong.recv() - k;
        }
        ping.close();
        sum += mine;
      });
      s.go([ping, pong] {
        for (int v : ping) pong.send(v + 1);
      });
    }
    s.join();
    EXPECT_EQ(sum.load(), static_cast<long>(pairs) * trips);
  });
}

}  // namespace
