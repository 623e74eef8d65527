// SPDX-License-Identifier: Apache-2.0
//
// A channel as a range, and its handles as values: what iteration receives and when, what it asks of an element, what
// handles convert to, compare and hash by.

#include <gtest/gtest.h>

#include <algorithm>
#include <any>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft::chan;
using weft_test::until_waiting;

chan<int> with_values(int count) {
  chan<int> c(16);
  for (int i = 0; i < count; ++i) c.send(i);
  return c;
}

chan<int> closed_with_values(int count) {
  chan<int> c = with_values(count);
  c.close();
  return c;
}

static_assert(std::input_iterator<decltype(chan<int>().begin())>);
static_assert(std::input_iterator<decltype(chan<std::unique_ptr<int>>().begin())>);
static_assert(std::copyable<decltype(chan<int>().begin())>);
static_assert(!std::copyable<decltype(chan<std::unique_ptr<int>>().begin())>);
static_assert(std::ranges::input_range<chan<int>> && std::ranges::input_range<const weft::recv_chan<int>> &&
              std::ranges::input_range<weft::receiver<int>>);
static_assert(!std::ranges::sized_range<chan<int>> && !std::ranges::sized_range<weft::recv_chan<int>> &&
              !std::ranges::sized_range<weft::receiver<int>>);
static_assert(std::ranges::borrowed_range<chan<int>> && std::ranges::borrowed_range<weft::receiver<int>>);
static_assert(std::ranges::view<chan<int>> && std::ranges::view<weft::recv_chan<int>> &&
              !std::ranges::view<weft::receiver<int>>);

TEST(chan_range, a_begin_that_is_not_looked_at_receives_nothing) {
  weft::run([] {
    const chan<int> c = with_values(3);
    const auto it = c.begin();
    EXPECT_EQ(c.size(), 3u);
    EXPECT_EQ(*it, 0);
    EXPECT_EQ(*it, 0);
    EXPECT_EQ(c.size(), 2u);
  });
}

TEST(chan_range, to_step_past_a_value_that_was_not_looked_at_receives_and_drops_it) {
  weft::run([] {
    const chan<int> c = closed_with_values(3);
    auto it = c.begin();
    ++it;
    EXPECT_EQ(c.size(), 2u);
    EXPECT_EQ(*it, 1);
    ++it;
    EXPECT_EQ(c.size(), 1u);  // the value that was looked at is dropped, and no other received
    ++it;
    EXPECT_EQ(c.size(), 0u);
    EXPECT_TRUE(it == c.end());
    ++it;
    EXPECT_TRUE(it == c.end());
    EXPECT_THROW(*it, std::logic_error);
  });
}

TEST(chan_range, the_end_is_the_close_not_an_empty_buffer) {
  weft::run([] {
    chan<int> c(8);
    weft::scope s;
    s.go([c] {
      for (int i = 0; i < 100; ++i) {
        c.send(i);
        weft::yield();
      }
      c.close();
    });
    int expected = 0;
    for (const int v : c) EXPECT_EQ(v, expected++);
    EXPECT_EQ(expected, 100);
    s.join();
  });
}

#if !defined(__clang__) || __clang_major__ >= 16  // older ones refuse libstdc++'s views of anything

TEST(chan_range, take_receives_as_many_as_it_takes) {
  weft::run([] {
    const chan<int> c = with_values(3);  // not closed: a fourth receive would wait for ever
    std::vector<int> got;
    for (const int v : c | std::views::take(3)) got.push_back(v);
    EXPECT_EQ(got, (std::vector{0, 1, 2}));

    const chan<int> d = closed_with_values(6);
    got.clear();
    for (const int v : d | std::views::transform([](int i) { return 10 * i; }) | std::views::take(3)) got.push_back(v);
    EXPECT_EQ(got, (std::vector{0, 10, 20}));
    EXPECT_EQ(d.size(), 3u);
  });
}

TEST(chan_range, take_of_an_unbuffered_channel_waits_for_its_sender) {
  weft::run([] {
    chan<int> c;
    weft::scope s;
    s.go([c] {
      for (int i = 0; i < 5; ++i) c.send(i);
      c.close();
    });
    std::vector<int> got;
    for (const int v : c | std::views::take(3)) got.push_back(v);
    for (const int v : c) got.push_back(100 + v);
    EXPECT_EQ(got, (std::vector{0, 1, 2, 103, 104}));
    s.join();
  });
}

TEST(chan_range, algorithms_count_what_comes) {
  weft::run([] {
    EXPECT_EQ(std::ranges::distance(closed_with_values(6)), 6);
    EXPECT_EQ(std::ranges::count_if(closed_with_values(5), [](int v) { return v % 2 == 0; }), 3);
    std::vector<int> got;
    std::ranges::copy(closed_with_values(5) | std::views::filter([](int v) { return v != 2; }),
                      std::back_inserter(got));
    EXPECT_EQ(got, (std::vector{0, 1, 3, 4}));
  });
}

TEST(chan_range, a_pipeline_holds_its_channel) {
  weft::run([] {
    const auto tens = [] {
      const chan<int> gone = closed_with_values(3);
      return gone | std::views::transform([](int i) { return 10 * i; });
    };
    int sum = 0;
    for (const int v : tens()) sum += v;
    EXPECT_EQ(sum, 30);
  });
}

#endif

TEST(chan_range, an_iterator_holds_its_channel) {
  weft::run([] {
    auto it = closed_with_values(5).begin();
    ++it;
    EXPECT_EQ(*it, 1);
  });
}

// An actor that replaces its inbox while it reads it: as Go's range does, the loop goes on with the old channel.
TEST(chan_range, a_loop_goes_on_with_the_channel_it_began_with) {
  weft::run([] {
    chan<std::string> inbox(8);
    inbox.send("reset");
    inbox.send("after");
    inbox.close();
    int seen = 0;
    for (const std::string& message : inbox) {
      ++seen;
      if (message == "reset") inbox = {};
    }
    EXPECT_EQ(seen, 2);
    EXPECT_EQ(inbox.capacity(), 0u);
  });
}

TEST(chan_range, a_copy_of_an_iterator_has_the_value_and_shares_the_rest) {
  weft::run([] {
    const chan<int> c = closed_with_values(3);
    auto a = c.begin();
    EXPECT_EQ(*a, 0);
    auto b = a;
    EXPECT_EQ(*b, 0);
    ++a;
    EXPECT_EQ(*a, 1);
    ++b;
    EXPECT_EQ(*b, 2);
    b = a;
    EXPECT_EQ(*b, 1);
    b = std::move(a);
    EXPECT_EQ(*b, 1);
  });
}

TEST(chan_range, values_in_iterators_are_destroyed_once) {
  weft::run([] {
    auto counted = std::make_shared<int>(0);
    chan<std::shared_ptr<int>> c(4);
    for (int i = 0; i < 4; ++i) c.send(counted);
    EXPECT_EQ(counted.use_count(), 5);
    {
      auto a = c.begin();
      EXPECT_NE(*a, nullptr);
      auto b = std::move(a);
      EXPECT_EQ(counted.use_count(), 5);
      ++b;
      EXPECT_EQ(counted.use_count(), 4);
      EXPECT_NE(*b, nullptr);
      a = c.begin();
      EXPECT_NE(*a, nullptr);
      a = std::move(b);
      EXPECT_EQ(counted.use_count(), 3);
    }
    EXPECT_EQ(counted.use_count(), 2);
  });
}

TEST(chan_range, a_loop_over_a_cancelled_scope_throws) {
  weft::run([] {
    weft::scope s;
    bool left = false;
    s.go([&] {
      const chan<int> never_sent;
      try {
        for (const int v : never_sent) ADD_FAILURE() << v;
      } catch (const weft::cancelled&) {
        left = true;
      }
    });
    until_waiting(1);
    s.cancel();
    s.join();
    EXPECT_TRUE(left);
  });
}

// --- what is asked of an element ---

struct unassignable {
  const int number;
  std::string& name;
};

struct with_own_address {
  int v = 0;
  with_own_address() = default;
  with_own_address(int x) : v(x) {}
  void** operator&() { std::abort(); }
};

TEST(chan_range, elements_need_no_assignment_and_no_address_operator) {
  weft::run([] {
    std::string name = "n";
    chan<unassignable> fixed(2);
    fixed.send({1, name});
    fixed.send({2, name});
    fixed.close();
    int sum = fixed.recv()->number;
    for (auto& each : fixed) sum += each.number;
    EXPECT_EQ(sum, 3);

    int captured = 1;
    auto closure = [captured] { return captured; };
    chan<decltype(closure)> closures(1);
    closures.send(closure);
    closures.close();
    for (auto& f : closures) EXPECT_EQ(f(), 1);

    chan<with_own_address> addressed(3);
    addressed.send(with_own_address(1));
    addressed.send(2);
    weft::select(weft::on_send(addressed, 3));
    addressed.close();
    EXPECT_EQ(addressed.recv()->v, 1);
    weft::select(weft::on_recv(addressed, [](std::optional<with_own_address> v) { EXPECT_EQ(v->v, 2); }));
    for (auto& each : addressed) EXPECT_EQ(each.v, 3);
  });
}

TEST(chan_range, elements_that_convert_from_anything_stay_what_they_are) {
  weft::run([] {
    chan<std::any> anything(1);
    anything.send(5);
    const std::optional<std::any> got = anything.recv();
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(std::any_cast<int>(*got), 5);

    chan<std::optional<int>> optionals(2);
    optionals.send(std::nullopt);
    optionals.send(7);
    optionals.close();
    const auto none = optionals.recv();
    ASSERT_TRUE(none.has_value());
    EXPECT_FALSE(none->has_value());
    for (const auto& each : optionals) EXPECT_EQ(each, 7);
  });
}

// --- handles as values ---

TEST(chan_handle, becomes_nil_by_a_null_pointer_and_new_by_braces) {
  weft::run([] {
    chan<int> c(3);
    const chan<int> old = c;
    c = nullptr;
    EXPECT_TRUE(c == nullptr);
    EXPECT_FALSE(c);
    EXPECT_EQ(old.capacity(), 3u);
    c = {};
    EXPECT_TRUE(c);
    EXPECT_NE(c, old);

    weft::recv_chan<int> in = old;
    in = nullptr;
    EXPECT_FALSE(in);
    weft::send_chan<int> out = old;
    out = nullptr;
    EXPECT_FALSE(out);

    auto [tx, rx] = weft::channel<int>(1);
    tx.send(1);
    tx = nullptr;  // the last sender: closes
    EXPECT_FALSE(tx);
    EXPECT_EQ(rx.recv(), 1);
    EXPECT_EQ(rx.recv(), std::nullopt);
    rx = nullptr;
    EXPECT_FALSE(rx);
  });
}

// In a select a nil channel is a case that is switched off, as in Go.
TEST(chan_handle, set_to_nil_its_case_is_off) {
  weft::run([] {
    chan<int> a = closed_with_values(2), b = closed_with_values(3);
    int values = 0;
    while (a || b) {
      weft::select(weft::on_recv(a,
                                 [&](std::optional<int> v) {
                                   if (v)
                                     ++values;
                                   else
                                     a = nullptr;
                                 }),
                   weft::on_recv(b, [&](std::optional<int> v) {
                     if (v)
                       ++values;
                     else
                       b = nullptr;
                   }));
    }
    EXPECT_EQ(values, 5);
  });
}

TEST(chan_handle, compares_and_hashes_by_its_channel) {
  weft::run([] {
    const chan<int> a(1), b(1), also_a = a;
    EXPECT_TRUE(a == also_a && a != b);
    EXPECT_EQ(a <=> also_a, std::strong_ordering::equal);
    EXPECT_NE(a < b, b < a);
    const weft::recv_chan<int> view = a;
    EXPECT_TRUE(view == a && view != b);
    EXPECT_EQ(std::hash<chan<int>>()(a), std::hash<chan<int>>()(also_a));
    EXPECT_EQ(std::hash<weft::recv_chan<int>>()(view), std::hash<chan<int>>()(a));
    std::unordered_set<chan<int>> known{a, b, also_a};
    EXPECT_EQ(known.size(), 2u);
    std::map<weft::send_chan<int>, int> ordered{{a, 1}, {b, 2}};
    EXPECT_EQ(ordered[also_a], 1);
    const auto [tx, rx] = weft::channel<int>();
    EXPECT_EQ(std::hash<weft::sender<int>>()(tx), std::hash<weft::receiver<int>>()(rx));
  });
}

TEST(chan_handle, views_of_ends_do_not_keep_them_open) {
  weft::run([] {
    auto [tx, rx] = weft::channel<int>(2);
    weft::recv_chan<int> in = rx;
    weft::send_chan<int> out = tx;
    auto it = rx.begin();
    out.send(1);
    EXPECT_EQ(in.recv(), 1);
    tx = nullptr;
    EXPECT_EQ(in.recv(), std::nullopt);
    EXPECT_TRUE(it == rx.end());

    auto [tx2, rx2] = weft::channel<int>(2);
    const weft::recv_chan<int> in2 = rx2;
    const auto it2 = rx2.begin();
    rx2 = nullptr;
    EXPECT_THROW(tx2.send(1), weft::channel_closed);
  });
}

TEST(chan_results, of_trying_receives_are_conditions) {
  weft::run([] {
    chan<std::string> c(2);
    if (auto got = c.try_recv()) ADD_FAILURE() << *got;
    c.send("one");
    c.send("two");
    if (auto got = c.try_recv())
      EXPECT_EQ(*got, "one");
    else
      ADD_FAILURE();
    const auto got = c.recv_for(1h);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->size(), 3u);
    c.send("three");
    const std::string moved = *c.try_recv();
    EXPECT_EQ(moved, "three");
    auto [status, value] = c.try_recv();
    EXPECT_EQ(status, weft::chan_status::empty);
    EXPECT_FALSE(value);
    EXPECT_FALSE(c.recv_for(0s));
  });
}

}  // namespace
