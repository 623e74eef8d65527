// SPDX-License-Identifier: Apache-2.0
//
// select under everything at once: fibers and plain threads that send and receive by selects with cases drawn at
// random, against plain sends and receives, with time-outs, cancellation and a channel that all share for the end. What
// is accounted for: exactly the case whose index came back was done; a value that was sent is received once, one that
// was not is still with its sender; no queue keeps anybody.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
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

class select_stress : public weft_test::stress {};

constexpr std::size_t channels = 5;

struct field {
  explicit field(std::size_t size) : sent(size), received(size) {}

  std::array<weft::chan<parcel>, channels> c{weft::chan<parcel>(0), weft::chan<parcel>(0), weft::chan<parcel>(1),
                                             weft::chan<parcel>(3), weft::chan<parcel>(nullptr)};
  weft::chan<void> end;
  ledger sent, received;
  std::atomic<std::size_t> next{0};

  void note(std::optional<parcel>& p) {
    ASSERT_TRUE(p && p->full());
    received.mark(p->number());
  }
  const weft::chan<parcel>& any(choices& draw) const { return c[draw.below(channels)]; }
};

// One parcel, by selects, until one of them has sent it. False: the end came first.
bool send_one(field& f, parcel p, choices& draw) {
  const std::size_t number = p.number();
  const auto& to = f.c[draw.below(4)];  // not the nil one: nobody else would help
  const auto& or_to = f.any(draw);
  const auto& from = f.any(draw);
  for (;;) {
    std::optional<parcel> got;
    const auto keep = [&](std::optional<parcel> v) { got = std::move(v); };
    bool over = false;
    bool sent = false;
    const auto done = [&] { sent = true; };
    switch (draw.below(5)) {
      case 0:
        weft::select(weft::on_send(to, std::move(p), done), weft::on_recv(f.end, [&] { over = true; }));
        break;
      case 1:  // the same value in two cases: one of them moves it
        weft::select(weft::on_send(to, std::move(p), done), weft::on_send(or_to, std::move(p), done),
                     weft::on_recv(f.end, [&] { over = true; }));
        break;
      case 2:
        weft::select(weft::on_send(to, std::move(p), done), weft::on_recv(from, keep),
                     weft::on_recv(f.end, [&] { over = true; }));
        break;
      case 3:
        weft::select_biased(weft::on_recv(f.end, [&] { over = true; }), weft::on_send(to, std::move(p), done),
                            weft::on_timeout(draw.up_to(20us)));
        break;
      default:
        weft::select(weft::on_send(to, std::move(p), done), weft::on_recv(from, keep), weft::on_default());
        weft::yield();
    }
    if (got) f.note(got);
    EXPECT_EQ(p.full(), !sent) << "the value is gone if, and only if, its case was the one";
    if (sent) f.sent.mark(number);
    if (sent) return true;
    if (over) return false;
  }
}

// Receives by selects of all shapes until the end.
void receive_all(field& f, choices& draw) {
  for (bool over = false; !over;) {
    std::optional<parcel> got;
    const auto keep = [&](std::optional<parcel> v) { got = std::move(v); };
    const auto end = [&] { over = true; };
    switch (draw.below(4)) {
      case 0:
        weft::select(weft::on_recv(f.c[0], keep), weft::on_recv(f.c[1], keep), weft::on_recv(f.c[2], keep),
                     weft::on_recv(f.c[3], keep), weft::on_recv(f.end, end));
        break;
      case 1: {
        weft::selector sel;
        for (unsigned i = 0; i < 1 + draw.below(6); ++i) sel.on_recv(f.any(draw), keep);
        sel.on_recv(f.end, end);
        sel.on_timeout(draw.up_to(30us));  // else all might wait where nobody sends
        sel.run();
        break;
      }
      case 2:
        weft::select(weft::on_recv(f.any(draw), keep), weft::on_recv(f.end, end), weft::on_timeout(draw.up_to(20us)));
        break;
      default: {
        weft::yield();  // before: it may throw
        auto [how, value] = f.any(draw).try_recv();
        if (how == chan_status::ok) got = std::move(value);
      }
    }
    if (got) f.note(got);
  }
}

void all_against_all(int senders, int receivers, bool threads, int each) {
  const auto size = static_cast<std::size_t>(senders * each);
  field f(size);
  weft::run([&] {
    std::vector<std::thread> plain;
    weft::wait_group sending;
    weft::scope s;
    const auto start = [&](int who, auto body) {
      if (threads && who % 4 == 0)
        plain.emplace_back(body);
      else
        s.go(body);
    };
    for (int i = 0; i < senders; ++i) {
      sending.add();
      start(i, [&, i] {
        choices draw(static_cast<std::uint64_t>(i));
        for (int k = 0; k < each; ++k) {
          if (!send_one(f, parcel(static_cast<std::size_t>(i * each + k)), draw)) ADD_FAILURE() << "the end came early";
        }
        sending.done();
      });
    }
    for (int i = 0; i < receivers; ++i) {
      start(i, [&, i] {
        choices draw(1000 + static_cast<std::uint64_t>(i));
        receive_all(f, draw);
      });
    }
    sending.wait();
    f.end.close();
    s.join();
    weft::blocking([&] {
      for (std::thread& t : plain) t.join();
    });
    for (const auto& c : f.c) {
      for (auto got = c.try_recv(); got.status == chan_status::ok; got = c.try_recv()) f.note(got.value);
      EXPECT_EQ(c.try_recv().status, chan_status::empty);
    }
  });
  EXPECT_EQ(f.sent.missing() + f.sent.strange(), 0u);
  EXPECT_EQ(f.received.missing() + f.received.strange(), 0u);
  EXPECT_EQ(parcel::held.load(), 0);
}

TEST_F(select_stress, few_senders_many_receivers) { all_against_all(4, 16, false, scaled(20'000)); }
TEST_F(select_stress, many_senders_few_receivers) { all_against_all(24, 3, false, scaled(4000)); }
TEST_F(select_stress, with_plain_threads) { all_against_all(8, 8, true, scaled(6000)); }

// Receivers that are cancelled in the middle of their selects, again and again.
TEST_F(select_stress, cancelled_in_the_middle) {
  constexpr int rounds = scaled(6000);
  field f(static_cast<std::size_t>(rounds) * 8);
  weft::run([&] {
    std::size_t number = 0;
    for (int round = 0; round < rounds; ++round) {
      choices shape(7000 + static_cast<std::uint64_t>(round));
      std::vector<weft::fiber<void>> receivers;
      for (int i = 0; i < 6; ++i) {
        receivers.push_back(weft::spawn([&f, round, i] {
          choices draw(9000 + static_cast<std::uint64_t>(round * 8 + i));
          receive_all(f, draw);
        }));
      }
      for (int i = 0; i < 8; ++i) {
        parcel p(number++);
        const bool gone = f.c[shape.below(4)].send_for(std::move(p), shape.up_to(50us)) == chan_status::ok;
        EXPECT_EQ(p.full(), !gone);
        if (gone) f.sent.mark(p.number());
        if (shape.one_in(3)) receivers[shape.below(6)].cancel();
      }
      for (auto& r : receivers) r.cancel();
    }
    for (const auto& c : f.c)
      for (auto got = c.try_recv(); got.status == chan_status::ok; got = c.try_recv()) f.note(got.value);
  });
  std::size_t lost = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(rounds) * 8; ++i)
    lost += f.sent.marked(i) != f.received.marked(i);
  EXPECT_EQ(lost, 0u);
  EXPECT_EQ(f.received.strange(), 0u);
  EXPECT_EQ(parcel::held.load(), 0);
}

// A channel that everybody selects on, long enough for it to be split; then it is closed, or somebody sends on it.
TEST_F(select_stress, a_channel_that_all_share) {
  for (int round = 0; round < scaled(100); ++round) {
    weft::run([&] {
      constexpr int fibers = 24;
      choices shape(11'000 + static_cast<std::uint64_t>(round));
      const bool close = shape.one_in(2);
      const weft::chan<void> done;
      std::atomic<int> heard{0}, steps{0};
      weft::scope s;
      for (int i = 0; i < fibers; ++i) {
        s.go([&] {
          const weft::chan<int> own;
          weft::scope feeder;
          feeder.go([own] {
            for (;;) own.send(1);
          });
          for (bool over = false; !over;) {
            weft::select(weft::on_recv(own, [&] { steps.fetch_add(1); }), weft::on_recv(done, [&] { over = true; }));
          }
          heard.fetch_add(1);
          feeder.cancel();
        });
      }
      while (steps.load() < 2000) weft::yield();
      if (close) {
        done.close();
      } else {
        for (int i = 0; i < fibers; ++i) done.send();
      }
      s.join();
      EXPECT_EQ(heard.load(), fibers);
      EXPECT_EQ(done.try_send(), close ? chan_status::closed : chan_status::full);
    });
  }
}

}  // namespace
