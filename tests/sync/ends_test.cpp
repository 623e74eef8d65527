// SPDX-License-Identifier: Apache-2.0
//
// The views of a channel, and the ends that close it by ownership.

#include <gtest/gtest.h>

#include <concepts>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using weft::chan;
using weft::chan_status;
using weft::recv_chan;
using weft::send_chan;

template <class C>
concept can_send = requires(const C c) {
  c.send(1);
};
template <class C>
concept can_receive = requires(const C c) {
  c.recv();
};
template <class C>
concept can_close = requires(const C c) {
  c.close();
};

static_assert(can_send<chan<int>> && can_receive<chan<int>> && can_close<chan<int>>);
static_assert(can_send<send_chan<int>> && !can_receive<send_chan<int>> && can_close<send_chan<int>>);
static_assert(!can_send<recv_chan<int>> && can_receive<recv_chan<int>> && !can_close<recv_chan<int>>);
static_assert(can_send<weft::sender<int>> && !can_receive<weft::sender<int>> && !can_close<weft::sender<int>>);
static_assert(!can_send<weft::receiver<int>> && can_receive<weft::receiver<int>> && !can_close<weft::receiver<int>>);
static_assert(std::convertible_to<chan<int>, send_chan<int>> && std::convertible_to<chan<int>, recv_chan<int>>);
static_assert(!std::convertible_to<send_chan<int>, chan<int>> && !std::convertible_to<recv_chan<int>, chan<int>>);
static_assert(!std::convertible_to<send_chan<int>, recv_chan<int>>);
static_assert(!std::convertible_to<int, chan<int>> && !std::convertible_to<std::nullptr_t, recv_chan<int>>);
static_assert(!std::constructible_from<chan<int>, bool>);

TEST(views, are_the_same_channel) {
  const chan<int> whole(2);
  const send_chan<int> in = whole;
  const recv_chan<int> out = whole;
  EXPECT_EQ(in.try_send(7), chan_status::ok);
  EXPECT_EQ(out.size(), 1u);
  EXPECT_EQ(in.capacity(), 2u);
  EXPECT_EQ(out.try_recv().value, 7);
  in.close();
  EXPECT_EQ(out.try_recv().status, chan_status::closed);
  EXPECT_TRUE(in == send_chan<int>(whole) && out == recv_chan<int>(whole));
}

TEST(views, keep_the_channel) {
  recv_chan<std::unique_ptr<int>> out;
  EXPECT_TRUE(out == nullptr && !out);
  {
    chan<std::unique_ptr<int>> whole(1);
    EXPECT_EQ(whole.try_send(std::make_unique<int>(3)), chan_status::ok);
    out = std::move(whole);
    EXPECT_TRUE(whole == nullptr);
  }
  EXPECT_EQ(**out.try_recv().value, 3);
}

TEST(views, of_signals) {
  const chan<void> whole(1);
  const send_chan<void> in = whole;
  const recv_chan<void> out = whole;
  EXPECT_EQ(in.try_send(), chan_status::ok);
  EXPECT_EQ(out.try_recv(), chan_status::ok);
  EXPECT_EQ(out.try_recv(), chan_status::empty);
}

TEST(views, may_be_iterated) {
  weft::run([] {
    chan<int> whole(3);
    for (int i = 1; i <= 3; ++i) whole.send(i);
    whole.close();
    int sum = 0;
    for (const int v : recv_chan<int>(whole)) sum += v;
    EXPECT_EQ(sum, 6);
  });
}

TEST(ends, the_last_sender_to_go_closes) {
  auto [tx, rx] = weft::channel<int>(4);
  auto second = tx;
  EXPECT_EQ(tx.try_send(1), chan_status::ok);
  tx = {};
  EXPECT_EQ(rx.try_recv().value, 1);
  EXPECT_EQ(rx.try_recv().status, chan_status::empty);
  EXPECT_EQ(second.try_send(2), chan_status::ok);
  { auto third = std::move(second); }
  EXPECT_EQ(rx.try_recv().value, 2);
  EXPECT_EQ(rx.try_recv().status, chan_status::closed);
}

TEST(ends, once_the_last_receiver_is_gone_a_send_throws) {
  weft::run([] {
    auto [tx, rx] = weft::channel<std::unique_ptr<int>>(4);
    auto second = rx;
    rx = {};
    tx.send(std::make_unique<int>(1));
    second = {};
    auto mine = std::make_unique<int>(2);
    try {
      tx.send(std::move(mine));
      ADD_FAILURE() << "nobody can receive it";
    } catch (const weft::channel_closed& e) {
      EXPECT_STREQ(e.what(), "send on a channel whose receivers are all gone");
    }
    ASSERT_NE(mine, nullptr);
    EXPECT_EQ(*mine, 2);
    EXPECT_EQ(tx.try_send(std::move(mine)), chan_status::closed);
  });
}

TEST(ends, a_sender_that_waits_hears_that_the_last_receiver_went) {
  weft::run([] {
    auto ends = weft::channel<int>();
    auto f = weft::spawn([tx = std::move(ends.first)] { EXPECT_THROW(tx.send(1), weft::channel_closed); });
    weft_test::until_waiting(1);
    ends.second = {};
    f.join();
  });
}

TEST(ends, a_closure_that_ends_closes) {
  weft::run([] {
    auto [tx, rx] = weft::channel<int>();
    weft::scope s;
    for (int i = 0; i < 4; ++i)
      s.go([tx = tx] {
        for (int v = 0; v < 25; ++v) tx.send(1);
      });
    tx = {};
    int sum = 0;
    for (const int v : rx) sum += v;
    EXPECT_EQ(sum, 100);
    s.join();
  });
}

TEST(ends, of_signals) {
  auto [tx, rx] = weft::channel<void>(1);
  EXPECT_EQ(tx.try_send(), chan_status::ok);
  tx = {};
  EXPECT_EQ(rx.try_recv(), chan_status::ok);
  EXPECT_EQ(rx.try_recv(), chan_status::closed);
}

TEST(ends, values_that_nobody_took_are_destroyed) {
  const auto counted = std::make_shared<int>(1);
  {
    auto [tx, rx] = weft::channel<std::shared_ptr<int>>(4);
    EXPECT_EQ(tx.try_send(counted), chan_status::ok);
    EXPECT_EQ(counted.use_count(), 2);
  }
  EXPECT_EQ(counted.use_count(), 1);
}

}  // namespace
