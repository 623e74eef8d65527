// SPDX-License-Identifier: Apache-2.0
//
// select by behaviour: what Go's own tests cover (closed and nil, fairness, duplicates, with itself, double select),
// and what C++ adds (move-only values, handlers that throw, cancellation, plain threads).

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft::chan;
using weft::chan_status;
using weft::on_default;
using weft::on_recv;
using weft::on_send;
using weft::on_timeout;
using weft::select;
using weft::select_biased;

constexpr auto for_ever = std::chrono::hours(1000);

TEST(selects, do_the_case_that_is_ready) {
  weft::run([] {
    chan<int> a(1), b(1);
    b.send(5);
    std::optional<int> got;
    EXPECT_EQ(select(on_recv(a), on_recv(b, [&](std::optional<int> v) { got = v; })), 1u);
    EXPECT_EQ(got, 5);
    EXPECT_EQ(select(on_send(a, 7), on_recv(b)), 0u);
    EXPECT_EQ(a.try_recv().value, 7);
  });
}

TEST(selects, wait_for_the_first_to_come) {
  weft::run([] {
    chan<int> a, b;
    auto f = weft::spawn([=] { return select(on_recv(a), on_recv(b)); });
    weft_test::until_waiting(1);
    b.send(1);
    EXPECT_EQ(f.join(), 1u);
    EXPECT_EQ(a.try_send(1), chan_status::full) << "nobody is left in the queue of the case that lost";
  });
}

TEST(selects, send_to_the_first_who_comes) {
  weft::run([] {
    chan<std::unique_ptr<int>> a, b;
    auto f = weft::spawn([=] {
      auto one = std::make_unique<int>(1);
      auto two = std::make_unique<int>(2);
      const auto which = select(on_send(a, std::move(one)), on_send(b, std::move(two)));
      EXPECT_TRUE(one != nullptr && *one == 1) << "the value of a case that lost is where it was";
      EXPECT_EQ(two, nullptr);
      return which;
    });
    weft_test::until_waiting(1);
    EXPECT_EQ(**b.recv(), 2);
    EXPECT_EQ(f.join(), 1u);
    EXPECT_EQ(a.try_recv().status, chan_status::empty);
  });
}

TEST(selects, leave_the_value_of_a_lost_case_alone) {
  weft::run([] {
    chan<std::string> full(0);
    std::string text(100, 'x');
    EXPECT_EQ(select(on_send(full, std::move(text)), on_default()), 1u);
    EXPECT_EQ(text, std::string(100, 'x'));
    EXPECT_EQ(select(on_send(full, std::move(text)), on_timeout(1ms)), 1u);
    EXPECT_EQ(text, std::string(100, 'x'));
  });
}

TEST(selects, convert_a_value_as_the_channel_s_send_does) {
  weft::run([] {
    chan<std::string> c(2);
    const std::string kept = "kept";
    select(on_send(c, "literal"));
    select(on_send(c, kept));
    EXPECT_EQ(c.recv(), "literal");
    EXPECT_EQ(c.recv(), "kept");
    EXPECT_EQ(kept, "kept");
  });
}

// --- closed and nil --------------------------------------------------------------------------------------------------

TEST(selects, find_a_closed_channel_ready_to_receive) {
  weft::run([] {
    chan<int> quiet, closed(1);
    closed.send(3);
    closed.close();
    std::optional<int> got;
    const auto keep = [&](std::optional<int> v) { got = v; };
    EXPECT_EQ(select(on_recv(quiet), on_recv(closed, keep)), 1u);
    EXPECT_EQ(got, 3) << "drained first";
    EXPECT_EQ(select(on_recv(quiet), on_recv(closed, keep)), 1u);
    EXPECT_EQ(got, std::nullopt);
    EXPECT_EQ(select(on_recv(closed, keep), on_default()), 0u);
  });
}

TEST(selects, throw_where_a_send_finds_its_channel_closed) {
  weft::run([] {
    chan<int> quiet, closed(1);
    closed.close();
    EXPECT_THROW(select(on_send(closed, 1), on_recv(quiet)), weft::channel_closed);
    EXPECT_THROW(select(on_send(closed, 1), on_default()), weft::channel_closed);
    EXPECT_THROW(select_biased(on_send(closed, 1), on_default()), weft::channel_closed);
  });
}

TEST(selects, hear_of_a_close_while_they_wait) {
  weft::run([] {
    chan<int> quiet, a, b;
    auto receives = weft::spawn([=] { return select(on_recv(quiet), on_recv(a, [](auto v) { EXPECT_FALSE(v); })); });
    auto sends = weft::spawn([=] { EXPECT_THROW(select(on_recv(quiet), on_send(b, 1)), weft::channel_closed); });
    weft_test::until_waiting(2);
    a.close();
    b.close();
    EXPECT_EQ(receives.join(), 1u);
    sends.join();
  });
}

TEST(selects, never_take_a_nil_channel) {
  weft::run([] {
    const chan<int> nil(nullptr);
    chan<int> a(1);
    for (int i = 0; i < 20; ++i) {
      a.send(i);
      EXPECT_EQ(select(on_recv(nil), on_send(nil, 1), on_recv(a)), 2u);
    }
    EXPECT_EQ(select(on_recv(nil), on_send(nil, 1), on_default()), 2u);
    EXPECT_EQ(select(on_recv(nil), on_timeout(1us)), 1u);
    EXPECT_EQ(select(on_default()), 0u);
  });
}

TEST(selects, without_a_case_that_can_be_taken_wait_for_ever) {
  weft::run([] {
    const chan<int> nil(nullptr);
    auto none = weft::spawn([] { select(); });
    auto only_nil = weft::spawn([nil] { select(on_recv(nil)); });
    weft_test::until_waiting(2);
    none.cancel();
    only_nil.cancel();
    EXPECT_THROW(none.join(), weft::fiber_cancelled);
    EXPECT_THROW(only_nil.join(), weft::fiber_cancelled);
  });
}

// --- order -----------------------------------------------------------------------------------------------------------

TEST(selects, choose_uniformly_among_those_ready) {
  weft::run([] {
    constexpr int rounds = 40'000;
    std::array<chan<int>, 4> c{chan<int>(1), chan<int>(1), chan<int>(1), chan<int>(1)};
    std::array<int, 4> taken{};
    for (auto& one : c) one.send(0);
    for (int i = 0; i < rounds; ++i) {
      const auto which = select(on_recv(c[0]), on_recv(c[1]), on_recv(c[2]), on_recv(c[3]));
      ++taken[which];
      c[which].send(0);
    }
    // Binomial: 10 000 +- 87; ten deviations.
    for (const int n : taken) EXPECT_NEAR(n, rounds / 4, 870);
  });
}

TEST(selects, biased_take_the_first_in_order) {
  weft::run([] {
    chan<int> a(1), b(1);
    for (int i = 0; i < 100; ++i) {
      b.send(0);
      if (i % 2 == 0) a.send(0);
      EXPECT_EQ(select_biased(on_recv(a), on_recv(b)), i % 2 == 0 ? 0u : 1u);
      while (b.try_recv().value) {
      }
    }
  });
}

TEST(selects, may_name_a_channel_twice) {
  weft::run([] {
    chan<int> c;
    std::array<int, 2> taken{};
    for (int i = 0; i < 200; ++i) {
      auto f = weft::spawn([=] { return select(on_recv(c), on_recv(c)); });
      c.send(i);
      ++taken[f.join()];
    }
    EXPECT_GT(taken[0], 0);
    EXPECT_EQ(c.try_send(0), chan_status::full);
  });
}

TEST(selects, do_not_pair_with_themselves) {
  weft::run([] {
    chan<int> c;
    EXPECT_EQ(select(on_send(c, 1), on_recv(c), on_default()), 2u);
    EXPECT_EQ(select(on_send(c, 1), on_recv(c), on_timeout(1ms)), 2u);
    chan<int> room(1);
    EXPECT_EQ(select(on_send(room, 1), on_recv(room)), 0u);
    EXPECT_EQ(select(on_send(room, 1), on_recv(room)), 1u);
  });
}

TEST(selects, of_two_fibers_meet_each_other) {
  weft::run([] {
    chan<int> a, b;
    weft::scope s;
    int sum = 0;
    s.go([&] {
      for (int i = 0; i < 1000; ++i) select(on_send(a, 1), on_recv(b, [&](auto v) { sum += *v; }));
    });
    for (int i = 0; i < 1000; ++i) select(on_recv(a, [&](auto v) { sum += *v; }), on_send(b, 1));
    s.join();
    EXPECT_EQ(sum, 1000);
  });
}

// --- time ------------------------------------------------------------------------------------------------------------

TEST(selects, give_up_after_a_time) {
  weft::run([] {
    chan<int> quiet;
    const auto before = weft::clock::now();
    bool told = false;
    EXPECT_EQ(select(on_recv(quiet), on_timeout(2ms, [&] { told = true; })), 1u);
    EXPECT_TRUE(told);
    EXPECT_GE(weft::clock::now() - before, 2ms);
    EXPECT_EQ(select(on_recv(quiet), weft::on_deadline(before)), 1u) << "it has passed";
    EXPECT_EQ(select(on_timeout(for_ever), on_recv(quiet), on_timeout(1us)), 2u) << "the nearest";
    EXPECT_EQ(quiet.try_send(1), chan_status::full);
  });
}

TEST(selects, prefer_what_is_ready_to_a_time_that_has_passed) {
  weft::run([] {
    chan<int> a(1);
    for (int i = 0; i < 20; ++i) {
      a.send(i);
      EXPECT_EQ(select(on_timeout(0s), on_recv(a)), 1u);
    }
    EXPECT_EQ(select(on_timeout(-1s), on_recv(a)), 0u);
  });
}

// --- handlers, errors, cancellation ----------------------------------------------------------------------------------

TEST(selects, run_the_handler_after_the_case_is_done) {
  weft::run([] {
    chan<int> c(1);
    c.send(1);
    EXPECT_THROW(select(on_recv(c,
                                [&](auto) {
                                  EXPECT_EQ(c.try_send(2), chan_status::ok);
                                  throw std::runtime_error("of the handler");
                                })),
                 std::runtime_error);
    EXPECT_EQ(c.recv(), 2);
  });
}

TEST(selects, take_signals) {
  weft::run([] {
    chan<void> c(1);
    bool heard = false;
    EXPECT_EQ(select(on_send(c)), 0u);
    EXPECT_EQ(select(on_recv(c, [&](bool open) { heard = open; })), 0u);
    EXPECT_TRUE(heard);
    c.close();
    EXPECT_EQ(select(on_recv(c, [&](bool open) { heard = open; })), 0u);
    EXPECT_FALSE(heard);
  });
}

TEST(selects, are_cancelled_at_their_entry_and_while_they_wait) {
  weft::run([] {
    chan<int> ready(1), quiet;
    ready.send(1);
    weft::cancel_scope cs;
    cs.cancel();
    EXPECT_FALSE(cs.run([&] { select(on_recv(ready)); }));
    EXPECT_EQ(ready.size(), 1u) << "it throws before it does anything";
    auto f = weft::spawn([=] { select(on_recv(quiet), on_send(quiet, 1), on_timeout(for_ever)); });
    weft_test::until_waiting(1);
    f.cancel();
    EXPECT_THROW(f.join(), weft::fiber_cancelled);
    EXPECT_EQ(quiet.try_send(1), chan_status::full);
    EXPECT_EQ(quiet.try_recv().status, chan_status::empty);
  });
}

TEST(selects, wait_for_the_end_of_a_fiber) {
  weft::run([] {
    chan<int> quiet, go_on;
    auto f = weft::spawn([=] { return go_on.recv().value_or(0); });
    EXPECT_EQ(select(on_recv(quiet), weft::on_join(f), on_default()), 2u);
    auto g = weft::spawn([&] { return select(on_recv(quiet), weft::on_join(f)); });
    weft_test::until_waiting(2);
    go_on.send(9);
    EXPECT_EQ(g.join(), 1u);
    EXPECT_EQ(select(weft::on_join(f), on_recv(quiet)), 0u);
    EXPECT_EQ(f.join(), 9);
    EXPECT_THROW(select(weft::on_join(f)), std::logic_error);
  });
}

TEST(selects, wait_for_an_event) {
  weft::run([] {
    chan<int> quiet;
    weft::event happened;
    EXPECT_EQ(select(on_recv(quiet), weft::on_event(happened), on_default()), 2u);
    auto one = weft::spawn([&] { return select(on_recv(quiet), weft::on_event(happened)); });
    weft_test::until_waiting(1);
    auto another = weft::spawn([&] { return weft::selector().on_event(happened).on_recv(quiet).run(); });
    weft_test::until_waiting(2);
    happened.set();
    EXPECT_EQ(one.join(), 1u);
    EXPECT_EQ(another.join(), 0u);
    bool handled = false;
    EXPECT_EQ(select(weft::on_event(happened, [&] { handled = true; }), on_recv(quiet)), 0u);
    EXPECT_TRUE(handled);
    happened.reset();
    EXPECT_EQ(select(weft::on_event(happened), on_default()), 1u);
    auto cancelled = weft::spawn([&] { select(on_recv(quiet), weft::on_event(happened)); });
    weft_test::until_waiting(1);
    cancelled.cancel();
    EXPECT_THROW(cancelled.join(), weft::fiber_cancelled);
    EXPECT_EQ(quiet.try_send(1), chan_status::full);
    happened.set();
  });
}

TEST(selects, take_views_and_ends) {
  weft::run([] {
    auto [tx, rx] = weft::channel<int>(1);
    EXPECT_EQ(select(on_send(tx, 4), on_recv(rx)), 0u);
    int got = 0;
    EXPECT_EQ(select(on_recv(rx, [&](auto v) { got = *v; })), 0u);
    EXPECT_EQ(got, 4);
    chan<int> whole(1);
    EXPECT_EQ(select(on_send(weft::send_chan<int>(whole), 5)), 0u);
    EXPECT_EQ(select(on_recv(weft::recv_chan<int>(whole))), 0u);
  });
}

TEST(selects, work_on_plain_threads) {
  weft::run([] {
    chan<int> a, b, quiet;
    std::thread outside([=] {
      int sum = 0;
      for (int i = 0; i < 200; ++i)
        select(on_recv(a, [&](auto v) { sum += *v; }), on_recv(b, [&](auto v) { sum += *v; }), on_recv(quiet));
      EXPECT_EQ(sum, 300);
      EXPECT_EQ(select(on_recv(quiet), on_timeout(1ms)), 1u);
    });
    weft::scope s;
    s.go([=] {
      for (int i = 0; i < 100; ++i) a.send(1);
    });
    s.go([=] {
      for (int i = 0; i < 100; ++i) select(on_send(b, 2));
    });
    s.join();
    weft::blocking([&] { outside.join(); });
  });
}

// --- selector --------------------------------------------------------------------------------------------------------

TEST(selects, of_a_number_known_at_run_time) {
  weft::run([] {
    std::vector<chan<int>> all;
    for (int i = 0; i < 300; ++i) all.emplace_back(1);
    for (int round = 0; round < 100; ++round) {
      const auto wanted = static_cast<std::size_t>(round * 37 % 300);
      weft::selector sel;
      std::optional<int> got;
      for (const auto& c : all) sel.on_recv(c, [&](std::optional<int> v) { got = v; });
      weft::scope s;
      s.go([&] { all[wanted].send(round); });
      EXPECT_EQ(sel.run(), wanted);
      EXPECT_EQ(got, round);
      s.join();
    }
  });
}

TEST(selects, of_a_selector_own_what_they_need) {
  weft::run([] {
    weft::selector sel;
    const auto counted = std::make_shared<int>(3);
    weft::recv_chan<std::shared_ptr<int>> out;
    {
      chan<std::shared_ptr<int>> c(1);
      out = c;
      sel.on_send(std::move(c), counted, [counted] {});
    }
    EXPECT_EQ(counted.use_count(), 3);
    EXPECT_EQ(sel.size(), 1u);
    EXPECT_EQ(sel.run(), 0u);
    EXPECT_EQ(*out.recv(), counted);
    EXPECT_THROW(sel.run(), std::logic_error) << "once";
  });
}

TEST(selects, of_a_selector_have_all_kinds_of_cases) {
  weft::run([] {
    chan<int> quiet;
    chan<void> signals(1);
    auto f = weft::spawn([] {});
    EXPECT_TRUE(f.join_for(for_ever));
    EXPECT_EQ(weft::selector().on_recv(quiet).on_timeout(1us).run(), 1u);
    EXPECT_EQ(weft::selector().on_recv(quiet).on_deadline(weft::clock::now()).run(), 1u);
    EXPECT_EQ(weft::selector().on_recv(quiet).on_default().run(), 1u);
    EXPECT_EQ(weft::selector().on_recv(quiet).on_join(f).run(), 1u);
    EXPECT_EQ(weft::selector().on_recv(quiet).on_send(signals).run_biased(), 1u);
    EXPECT_EQ(weft::selector().on_recv(signals, [](bool) {}).on_default().run_biased(), 0u);
    f.join();
  });
}

}  // namespace
