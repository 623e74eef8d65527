// SPDX-License-Identifier: Apache-2.0
//
// Random sequences of operations on channels, selects among them, against a model that knows what each must do: who
// waits, who is served first, and what everybody gets. One operation is begun at a time, each in a fiber of its own,
// and the next one only after the fiber has ended or waits; so the model is sequential, and FIFO is exact.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using weft::chan;
using weft::chan_status;

constexpr int none = -1;

struct a_case {
  std::size_t on;
  int sends;  // a value, or `none` for a receive
};

enum class how { waits, done, closed, cancelled, not_ready };

struct outcome {
  how ended = how::waits;
  std::size_t index = 0;
  int value = none;
};

// What an operation came to, and in which of its cases that may be so (several, if it names a channel twice).
struct expected {
  outcome it;
  std::vector<std::size_t> cases;
};

struct actor {
  std::vector<a_case> cases;
  bool waiting_allowed = true;
  outcome got;      // written by its fiber
  expected wanted;  // by the model
  weft::fiber<void> fiber;
};

class model {
 public:
  explicit model(const std::vector<std::size_t>& capacities) {
    for (const std::size_t n : capacities) all_.push_back({n, false, {}, {}, {}});
  }

  bool closed(std::size_t c) const { return all_[c].closed; }
  std::size_t size(std::size_t c) const { return all_[c].ring.size(); }
  std::size_t waiting() const { return waiting_; }

  bool ready(const a_case& x) const {
    const channel& c = all_[x.on];
    if (c.closed) return true;
    return x.sends == none ? !c.ring.empty() || !c.senders.empty() : !c.receivers.empty() || c.ring.size() < c.capacity;
  }

  // The actor does this one of its cases, which is ready.
  void perform(actor& who, std::size_t index) {
    const a_case x = who.cases[index];
    channel& c = all_[x.on];
    who.wanted = {{how::done, index, x.sends == none ? none : x.sends}, {index}};
    if (x.sends != none) {
      if (c.closed) {
        who.wanted.it.ended = how::closed;
      } else if (!c.receivers.empty()) {
        serve(*c.receivers.front(), x.on, false, how::done, x.sends);
      } else {
        c.ring.push_back(x.sends);
      }
      return;
    }
    if (!c.ring.empty()) {
      who.wanted.it.value = c.ring.front();
      c.ring.pop_front();
      if (!c.senders.empty()) {
        const int moved_up = value_of(*c.senders.front(), x.on);
        serve(*c.senders.front(), x.on, true, how::done, moved_up);
        c.ring.push_back(moved_up);
      }
    } else if (!c.senders.empty()) {
      who.wanted.it.value = value_of(*c.senders.front(), x.on);
      serve(*c.senders.front(), x.on, true, how::done, who.wanted.it.value);
    } else {
      who.wanted.it.ended = how::closed;
    }
  }

  void park(actor& who) {
    ++waiting_;
    for (const a_case& x : who.cases) {
      auto& queue = x.sends == none ? all_[x.on].receivers : all_[x.on].senders;
      if (queue.empty() || queue.back() != &who) queue.push_back(&who);
    }
  }

  void close(std::size_t on) {
    channel& c = all_[on];
    c.closed = true;
    while (!c.receivers.empty()) serve(*c.receivers.front(), on, false, how::closed, none);
    while (!c.senders.empty()) serve(*c.senders.front(), on, true, how::closed, none);
  }

  void cancel(actor& who) {
    who.wanted.it.ended = how::cancelled;
    leave(who);
  }

 private:
  struct channel {
    std::size_t capacity;
    bool closed;
    std::deque<int> ring;
    std::deque<actor*> receivers, senders;
  };

  // Of the cases that send there, all carry the same value: see `draw_cases`.
  static int value_of(const actor& who, std::size_t on) {
    for (const a_case& x : who.cases)
      if (x.on == on && x.sends != none) return x.sends;
    return none;
  }

  void serve(actor& who, std::size_t on, bool as_sender, how ended, int value) {
    who.wanted = {{ended, 0, value}, {}};
    for (std::size_t i = 0; i < who.cases.size(); ++i)
      if (who.cases[i].on == on && (who.cases[i].sends != none) == as_sender) who.wanted.cases.push_back(i);
    leave(who);
  }
  void leave(actor& who) {
    --waiting_;
    for (channel& c : all_) {
      for (auto* queue : {&c.receivers, &c.senders})
        queue->erase(std::remove(queue->begin(), queue->end(), &who), queue->end());
    }
  }

  std::vector<channel> all_;
  std::size_t waiting_ = 0;
};

class sequence {
 public:
  explicit sequence(std::uint64_t seed) : draw_(seed), model_(capacities_) {
    for (const std::size_t n : capacities_) channels_.emplace_back(n);
  }

  void run(int operations) {
    for (int i = 0; i < operations && !testing::Test::HasFailure(); ++i) {
      switch (below(12)) {
        case 0: {
          const std::size_t c = below(channels_.size());
          if (model_.closed(c) || !one_in(4)) break;
          model_.close(c);
          channels_[c].close();
          settle();
          break;
        }
        case 1:
          cancel_one();
          break;
        default:
          operate();
      }
      for (std::size_t c = 0; c < channels_.size(); ++c) EXPECT_EQ(channels_[c].size(), model_.size(c));
    }
    for (const auto& who : actors_)
      if (who->wanted.it.ended == how::waits) cancel(*who);
    for (const auto& who : actors_) compare(*who);
  }

 private:
  std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(draw_); }
  bool one_in(std::size_t n) { return below(n) == 0; }

  std::vector<a_case> draw_cases() {
    std::vector<a_case> cases(one_in(2) ? 1 : 2 + below(3));
    for (a_case& x : cases) {
      x.on = below(channels_.size());
      x.sends = none;
    }
    std::vector<int> value_for(channels_.size(), none);
    for (a_case& x : cases) {
      if (one_in(2)) continue;
      if (value_for[x.on] == none) value_for[x.on] = next_value_++;
      x.sends = value_for[x.on];
    }
    return cases;
  }

  // What the fiber does; a single case by the channel's own calls, several by a selector.
  static void act(actor& who, const std::vector<chan<int>>& channels) {
    try {
      if (who.cases.size() == 1) {
        const a_case x = who.cases[0];
        const chan<int>& c = channels[x.on];
        if (x.sends == none && who.waiting_allowed) {
          const auto v = c.recv();
          who.got = {v ? how::done : how::closed, 0, v.value_or(none)};
        } else if (x.sends == none) {
          const auto [status, v] = c.try_recv();
          who.got = {status == chan_status::ok       ? how::done
                     : status == chan_status::closed ? how::closed
                                                     : how::not_ready,
                     0, v.value_or(none)};
        } else if (who.waiting_allowed) {
          c.send(x.sends);
          who.got = {how::done, 0, x.sends};
        } else {
          const auto status = c.try_send(x.sends);
          who.got = {status == chan_status::ok       ? how::done
                     : status == chan_status::closed ? how::closed
                                                     : how::not_ready,
                     0, x.sends};
        }
        return;
      }
      weft::selector sel;
      outcome o{how::done, 0, none};
      for (const a_case& x : who.cases) {
        if (x.sends == none)
          sel.on_recv(channels[x.on], [&o](std::optional<int> v) {
            o = {v ? how::done : how::closed, 0, v.value_or(none)};
          });
        else
          sel.on_send(channels[x.on], x.sends, [&o, &x] { o = {how::done, 0, x.sends}; });
      }
      if (!who.waiting_allowed) sel.on_default([&o] { o.ended = how::not_ready; });
      o.index = sel.run();
      const std::size_t index = o.index;
      who.got = o;
      who.got.index = index;
    } catch (const weft::channel_closed&) {
      who.got.ended = how::closed;
      who.got.index = who.cases.size();  // not known
    } catch (const weft::cancelled&) {
      who.got.ended = how::cancelled;
      throw;
    }
  }

  void operate() {
    actors_.push_back(std::make_unique<actor>());
    actor& who = *actors_.back();
    who.cases = draw_cases();
    who.waiting_allowed = !one_in(3);
    std::vector<std::size_t> ready;
    for (std::size_t i = 0; i < who.cases.size(); ++i)
      if (model_.ready(who.cases[i])) ready.push_back(i);
    who.fiber = weft::spawn([this, &who] { act(who, channels_); });
    if (ready.empty() && who.waiting_allowed) {
      model_.park(who);
      settle();
      EXPECT_EQ(who.got.ended, how::waits) << "nothing was ready";
      return;
    }
    EXPECT_TRUE(who.fiber.join_for(std::chrono::hours(1)));
    if (ready.empty()) {
      who.wanted = {{how::not_ready}, {}};
    } else if (who.got.index < who.cases.size()) {  // it has chosen
      EXPECT_NE(std::find(ready.begin(), ready.end(), who.got.index), ready.end()) << "a case that was not ready";
      model_.perform(who, who.got.index);
    } else {
      const auto dead = [&](std::size_t i) { return who.cases[i].sends != none && model_.closed(who.cases[i].on); };
      EXPECT_TRUE(std::any_of(ready.begin(), ready.end(), dead)) << "no send on a closed channel is among the cases";
      who.wanted = {{how::closed}, {}};
    }
    compare(who);
    settle();
  }

  void cancel_one() {
    std::vector<actor*> waiting;
    for (const auto& who : actors_)
      if (who->wanted.it.ended == how::waits) waiting.push_back(who.get());
    if (!waiting.empty()) cancel(*waiting[below(waiting.size())]);
  }
  void cancel(actor& who) {
    model_.cancel(who);
    who.fiber.cancel();
    EXPECT_TRUE(who.fiber.join_for(std::chrono::hours(1)));
    settle();
  }

  // All who are to end have ended (the watchdog says who has not), and nobody else.
  void settle() {
    for (const auto& who : actors_) {
      if (who->wanted.it.ended == how::waits) continue;
      weft_test::until([&] { return who->fiber.done(); });
      compare(*who);
    }
    for (const auto& who : actors_) EXPECT_EQ(who->fiber.done(), who->wanted.it.ended != how::waits);
    weft_test::until_waiting(model_.waiting());
  }

  static void compare(const actor& who) {
    EXPECT_EQ(who.got.ended, who.wanted.it.ended);
    if (who.got.ended != how::done) return;
    EXPECT_EQ(who.got.value, who.wanted.it.value);
    const auto& cases = who.wanted.cases;
    EXPECT_NE(std::find(cases.begin(), cases.end(), who.got.index), cases.end());
  }

  const std::vector<std::size_t> capacities_{0, 0, 1, 3};
  std::mt19937_64 draw_;
  model model_;
  std::vector<chan<int>> channels_;
  std::vector<std::unique_ptr<actor>> actors_;
  int next_value_ = 0;
};

class chan_random : public testing::TestWithParam<int> {};

TEST_P(chan_random, does_what_the_model_says) {
  const char* const text = std::getenv("WEFT_TEST_SEED");
  const std::uint64_t first = text != nullptr ? std::strtoull(text, nullptr, 0) : std::random_device{}();
  const int rounds = text != nullptr ? 1 : 150;
  weft_test::watchdog watch(std::chrono::seconds(60));
  weft::run({.maxprocs = GetParam()}, [&] {
    for (int i = 0; i < rounds && !HasFailure(); ++i) {
      const std::uint64_t seed = first + static_cast<std::uint64_t>(i);
      sequence(seed).run(80);
      EXPECT_FALSE(HasFailure()) << "again with WEFT_TEST_SEED=" << seed;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(widths, chan_random, testing::Values(1, 2, 4));

}  // namespace
