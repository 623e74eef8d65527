// SPDX-License-Identifier: Apache-2.0
//
// What a channel promises: order, hand-over, what closing and a nil channel do, who owns a value at which moment.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using weft::chan;
using weft::chan_status;
using weft_test::until_waiting;

static_assert(std::is_copy_constructible_v<chan<int>> && std::is_copy_assignable_v<chan<int>>);
static_assert(std::is_nothrow_move_constructible_v<chan<int>>);
static_assert(!std::is_convertible_v<chan<int>, bool>, "the conversion is explicit");
static_assert(std::is_base_of_v<std::runtime_error, weft::channel_closed>);

// What `f` throws as channel_closed, "" if nothing.
template <class F>
std::string closed_message(F f) {
  try {
    f();
  } catch (const weft::channel_closed& error) {
    return error.what();
  }
  return "";
}

TEST(chan, is_unbuffered_by_default) {
  weft::run([] {
    EXPECT_EQ(chan<int>().capacity(), 0u);
    EXPECT_EQ(chan<int>(0).capacity(), 0u);
    EXPECT_EQ(chan<int>(3).capacity(), 3u);
    EXPECT_EQ(chan<int>(3u).capacity(), 3u);
    EXPECT_EQ(chan<int>(std::size_t{1000}).capacity(), 1000u);
  });
}

TEST(chan, refuses_an_absurd_capacity) {
  weft::run([] {
    EXPECT_THROW(chan<int>(-1), std::length_error);
    EXPECT_THROW(chan<int>(INT_MIN), std::length_error);
    EXPECT_THROW(chan<int>(PTRDIFF_MAX), std::length_error);
    EXPECT_THROW(chan<int>(SIZE_MAX), std::length_error);
    EXPECT_THROW(chan<void>(-1), std::length_error);
  });
}

TEST(chan, copies_are_the_same_channel) {
  weft::run([] {
    chan<int> a(1);
    const chan<int> b = a;
    b.send(7);
    EXPECT_EQ(a.size(), 1u);
    EXPECT_EQ(a.recv(), 7);
    EXPECT_TRUE(a == b);
    EXPECT_FALSE(a == chan<int>(1));
    EXPECT_TRUE(a != chan<int>(1));
    a = chan<int>(nullptr);
    EXPECT_TRUE(a == nullptr);
    EXPECT_FALSE(b == nullptr);
    EXPECT_FALSE(static_cast<bool>(a));
    EXPECT_TRUE(static_cast<bool>(b));
    EXPECT_TRUE(a == chan<int>(nullptr));
  });
}

TEST(chan, buffers_values_first_in_first_out_over_its_edge) {
  weft::run([] {
    chan<int> c(3);
    int sent = 0;
    int received = 0;
    for (int round = 0; round < 10; ++round) {
      while (c.size() < 3) c.send(sent++);
      EXPECT_EQ(c.size(), 3u);
      EXPECT_EQ(c.recv(), received++);
      EXPECT_EQ(c.recv(), received++);
      EXPECT_EQ(c.size(), 1u);
    }
  });
}

TEST(chan, an_unbuffered_send_waits_for_its_receiver) {
  weft::run([] {
    chan<int> c;
    std::atomic<bool> sent = false;
    auto sender = weft::spawn([&, c] {
      c.send(5);
      sent = true;
    });
    until_waiting(1);
    EXPECT_FALSE(sent);
    EXPECT_EQ(c.size(), 0u);
    EXPECT_EQ(c.recv(), 5);
    sender.join();
    EXPECT_TRUE(sent);
  });
}

TEST(chan, a_full_buffer_makes_the_sender_wait) {
  weft::run([] {
    chan<int> c(2);
    std::atomic<int> sent = 0;
    auto sender = weft::spawn([&, c] {
      for (int i = 0; i < 3; ++i) {
        c.send(i);
        ++sent;
      }
    });
    until_waiting(1);
    EXPECT_EQ(sent, 2);
    EXPECT_EQ(c.recv(), 0);
    sender.join();
    EXPECT_EQ(sent, 3);
    EXPECT_EQ(c.size(), 2u) << "the waiting value has moved into the buffer";
    EXPECT_EQ(c.recv(), 1);
    EXPECT_EQ(c.recv(), 2);
  });
}

TEST(chan, an_empty_channel_makes_the_receiver_wait) {
  weft::run([] {
    chan<int> c(2);
    auto receiver = weft::spawn([c] { return c.recv(); });
    until_waiting(1);
    EXPECT_FALSE(receiver.done());
    c.send(9);
    EXPECT_EQ(receiver.join(), 9);
  });
}

TEST(chan, a_waiting_receiver_is_handed_the_value_directly) {
  for (const int capacity : {0, 1}) {
    weft::run([&] {
      chan<int> c(capacity);
      auto receiver = weft::spawn([c] { return c.recv(); });
      until_waiting(1);
      c.send(7);
      EXPECT_EQ(c.size(), 0u);
      EXPECT_EQ(c.try_recv().status, chan_status::empty) << "nobody can snatch what is handed over";
      EXPECT_EQ(receiver.join(), 7);
    });
  }
}

TEST(chan, waiting_receivers_are_served_in_the_order_of_their_arrival) {
  weft::run([] {
    chan<int> c;
    std::vector<weft::fiber<std::optional<int>>> receivers;
    for (std::size_t i = 0; i < 5; ++i) {
      receivers.push_back(weft::spawn([c] { return c.recv(); }));
      until_waiting(i + 1);
    }
    for (int i = 0; i < 5; ++i) c.send(i);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(receivers[static_cast<std::size_t>(i)].join(), i);
  });
}

TEST(chan, waiting_senders_are_served_in_the_order_of_their_arrival_and_after_the_buffer) {
  for (const int capacity : {0, 1, 3}) {
    weft::run([&] {
      chan<int> c(capacity);
      for (int i = 0; i < capacity; ++i) c.send(i);
      std::vector<weft::fiber<void>> senders;
      for (int i = 0; i < 5; ++i) {
        senders.push_back(weft::spawn([=] { c.send(capacity + i); }));
        until_waiting(static_cast<std::size_t>(i) + 1);
      }
      for (int i = 0; i < capacity + 5; ++i) EXPECT_EQ(c.recv(), i);
      for (auto& sender : senders) sender.join();
    });
  }
}

TEST(chan, close_lets_receivers_drain_and_then_ends) {
  weft::run([] {
    chan<int> c(3);
    c.send(1);
    c.send(2);
    c.close();
    EXPECT_EQ(c.size(), 2u);
    EXPECT_EQ(c.recv(), 1);
    const auto second = c.try_recv();
    EXPECT_EQ(second.status, chan_status::ok);
    EXPECT_EQ(second.value, 2);
    EXPECT_EQ(c.recv(), std::nullopt);
    EXPECT_EQ(c.recv(), std::nullopt) << "and stays so";
    EXPECT_EQ(c.try_recv().status, chan_status::closed);
    EXPECT_EQ(c.try_recv().value, std::nullopt);
  });
}

TEST(chan, close_wakes_every_waiting_receiver_with_nothing) {
  weft::run([] {
    chan<int> c;
    std::vector<weft::fiber<std::optional<int>>> receivers;
    for (int i = 0; i < 5; ++i) receivers.push_back(weft::spawn([c] { return c.recv(); }));
    until_waiting(5);
    c.close();
    for (auto& receiver : receivers) EXPECT_EQ(receiver.join(), std::nullopt);
  });
}

TEST(chan, close_wakes_every_waiting_sender_with_an_error_and_leaves_its_value) {
  for (const int capacity : {0, 1}) {
    weft::run([&] {
      chan<std::unique_ptr<int>> c(capacity);
      for (int i = 0; i < capacity; ++i) c.send(std::make_unique<int>(-1));
      std::vector<weft::fiber<int>> senders;
      for (int i = 0; i < 5; ++i) {
        senders.push_back(weft::spawn([=] {
          auto value = std::make_unique<int>(i);
          EXPECT_EQ(closed_message([&] { c.send(std::move(value)); }), "send on closed channel");
          return value ? *value : -1;
        }));
      }
      until_waiting(5);
      c.close();
      for (int i = 0; i < 5; ++i) EXPECT_EQ(senders[static_cast<std::size_t>(i)].join(), i);
      EXPECT_EQ(c.size(), static_cast<std::size_t>(capacity));
    });
  }
}

TEST(chan, a_closed_channel_refuses_to_send_and_to_close) {
  for (const int capacity : {0, 1}) {
    weft::run([&] {
      const chan<std::unique_ptr<int>> c(capacity);
      c.close();
      auto value = std::make_unique<int>(3);
      EXPECT_EQ(closed_message([&] { c.send(std::move(value)); }), "send on closed channel");
      ASSERT_NE(value, nullptr);
      EXPECT_EQ(c.try_send(std::move(value)), chan_status::closed);
      ASSERT_NE(value, nullptr);
      EXPECT_EQ(*value, 3);
      EXPECT_EQ(closed_message([&] { c.close(); }), "close of closed channel");
    });
  }
}

TEST(chan, a_full_channel_that_is_closed_is_closed_to_try_send) {
  weft::run([] {
    chan<int> c(1);
    c.send(1);
    EXPECT_EQ(c.try_send(2), chan_status::full);
    c.close();
    EXPECT_EQ(c.try_send(2), chan_status::closed);
    EXPECT_EQ(c.recv(), 1);
  });
}

TEST(chan, try_operations_never_wait) {
  weft::run([] {
    chan<std::unique_ptr<int>> c(1);
    EXPECT_EQ(c.try_recv().status, chan_status::empty);
    auto value = std::make_unique<int>(1);
    EXPECT_EQ(c.try_send(std::move(value)), chan_status::ok);
    EXPECT_EQ(value, nullptr);
    value = std::make_unique<int>(2);
    EXPECT_EQ(c.try_send(std::move(value)), chan_status::full);
    ASSERT_NE(value, nullptr) << "a value that was not sent is not moved from";
    auto received = c.try_recv();
    EXPECT_EQ(received.status, chan_status::ok);
    ASSERT_TRUE(received.value);
    EXPECT_EQ(**received.value, 1);
    chan<int> unbuffered;
    EXPECT_EQ(unbuffered.try_send(1), chan_status::full);
    EXPECT_EQ(unbuffered.try_recv().status, chan_status::empty);
  });
}

TEST(chan, try_operations_meet_whoever_waits) {
  weft::run([] {
    chan<int> c;
    auto receiver = weft::spawn([c] { return c.recv(); });
    until_waiting(1);
    EXPECT_EQ(c.try_send(4), chan_status::ok);
    EXPECT_EQ(c.try_send(5), chan_status::full) << "one receiver takes one value";
    EXPECT_EQ(receiver.join(), 4);

    auto sender = weft::spawn([c] { c.send(6); });
    until_waiting(1);
    EXPECT_EQ(c.try_recv().value, 6);
    EXPECT_EQ(c.try_recv().status, chan_status::empty);
    sender.join();
  });
}

TEST(chan, a_nil_channel_is_never_ready) {
  weft::run([] {
    const chan<int> nil(nullptr);
    EXPECT_EQ(nil.try_send(1), chan_status::full);
    EXPECT_EQ(nil.try_recv().status, chan_status::empty);
    EXPECT_EQ(nil.size(), 0u);
    EXPECT_EQ(nil.capacity(), 0u);
    EXPECT_EQ(closed_message([&] { nil.close(); }), "close of nil channel");
    auto receiver = weft::spawn([nil] { nil.recv(); });
    auto sender = weft::spawn([nil] { nil.send(1); });
    until_waiting(2);
    receiver.cancel();
    sender.cancel();
    EXPECT_THROW(receiver.join(), weft::fiber_cancelled);
    EXPECT_THROW(sender.join(), weft::fiber_cancelled);
  });
}

TEST(chan, range_for_receives_until_closed_and_drained) {
  weft::run([] {
    chan<int> c(2);
    auto sender = weft::spawn([c] {
      for (int i = 0; i < 10; ++i) c.send(i);
      c.close();
    });
    std::vector<int> received;
    for (int value : c) received.push_back(value);
    EXPECT_EQ(received, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    for (int value : c) ADD_FAILURE() << value << " from a closed channel";
    sender.join();
  });
}

TEST(chan, carries_values_that_can_only_be_moved) {
  weft::run([] {
    chan<std::unique_ptr<int>> c(1);
    auto sender = weft::spawn([c] {
      for (int i = 0; i < 5; ++i) c.send(std::make_unique<int>(i));
      c.close();
    });
    int expected = 0;
    for (auto&& value : c) EXPECT_EQ(*value, expected++);
    EXPECT_EQ(expected, 5);
    sender.join();
  });
}

TEST(chan, sending_an_lvalue_copies_it) {
  weft::run([] {
    chan<std::string> c(2);
    const std::string constant(100, 'x');
    std::string variable(100, 'y');
    c.send(constant);
    c.send(variable);
    EXPECT_EQ(variable, std::string(100, 'y'));
    EXPECT_EQ(c.recv(), constant);
    EXPECT_EQ(c.recv(), variable);
    EXPECT_EQ(c.try_send(variable), chan_status::ok);
    EXPECT_EQ(variable, std::string(100, 'y'));
  });
}

TEST(chan, carries_large_and_odd_types) {
  weft::run([] {
    chan<std::array<int, 1000>> large;
    auto sender = weft::spawn([large] {
      std::array<int, 1000> value{};
      value.back() = 42;
      large.send(value);
    });
    EXPECT_EQ(large.recv()->back(), 42);
    sender.join();

    struct alignas(64) aligned {
      int value;
    };
    chan<aligned> c(3);
    c.send(aligned{8});
    const auto received = c.recv();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&*received) % 64, 0u);
    EXPECT_EQ(received->value, 8);

    chan<std::optional<int>> optionals(1);
    optionals.send(std::nullopt);
    const std::optional<std::optional<int>> nothing_sent = optionals.recv();
    ASSERT_TRUE(nothing_sent.has_value());
    EXPECT_FALSE(nothing_sent->has_value());

    chan<bool> flags(1);
    flags.send(false);
    const std::optional<bool> flag = flags.recv();
    ASSERT_TRUE(flag.has_value());
    EXPECT_FALSE(*flag);
  });
}

struct copies_throw {
  copies_throw() = default;
  copies_throw(const copies_throw&) { throw std::runtime_error("no copy"); }
  copies_throw(copies_throw&&) noexcept {}
};

TEST(chan, a_copy_that_throws_sends_nothing) {
  weft::run([] {
    chan<copies_throw> c(1);
    const copies_throw value;
    EXPECT_THROW(c.send(value), std::runtime_error);
    EXPECT_THROW((void)c.try_send(value), std::runtime_error);
    EXPECT_EQ(c.size(), 0u);
    c.send(copies_throw());
    EXPECT_EQ(c.size(), 1u);
  });
}

TEST(chan, of_void_carries_signals) {
  weft::run([] {
    chan<void> c(2);
    EXPECT_EQ(c.try_recv(), chan_status::empty);
    c.send();
    EXPECT_EQ(c.try_send(), chan_status::ok);
    EXPECT_EQ(c.try_send(), chan_status::full);
    EXPECT_EQ(c.size(), 2u);
    EXPECT_EQ(c.capacity(), 2u);
    EXPECT_TRUE(c.recv());
    EXPECT_EQ(c.try_recv(), chan_status::ok);
    c.send();
    c.close();
    EXPECT_TRUE(c.recv()) << "drains";
    EXPECT_FALSE(c.recv());
    EXPECT_EQ(c.try_recv(), chan_status::closed);
    EXPECT_EQ(c.try_send(), chan_status::closed);
    EXPECT_EQ(closed_message([&] { c.send(); }), "send on closed channel");
    EXPECT_EQ(closed_message([&] { c.close(); }), "close of closed channel");
  });
}

TEST(chan, of_void_hands_over_to_whoever_waits) {
  weft::run([] {
    chan<void> c;
    auto receiver = weft::spawn([c] { return c.recv(); });
    until_waiting(1);
    c.send();
    EXPECT_TRUE(receiver.join());
    auto last = weft::spawn([c] { return c.recv(); });
    until_waiting(1);
    c.close();
    EXPECT_FALSE(last.join());
    const chan<void> nil(nullptr);
    EXPECT_EQ(nil.try_send(), chan_status::full);
    EXPECT_EQ(nil.try_recv(), chan_status::empty);
  });
}

TEST(chan, destroys_what_was_never_received_with_its_last_handle) {
  weft::run([] {
    auto token = std::make_shared<int>(0);
    {
      chan<std::shared_ptr<int>> c(4);
      for (int i = 0; i < 6; ++i) {
        c.send(token);
        if (i >= 2) c.recv();
      }
      EXPECT_EQ(token.use_count(), 3);
      const chan<std::shared_ptr<int>> copy = c;
      c = chan<std::shared_ptr<int>>(nullptr);
      EXPECT_EQ(token.use_count(), 3);
    }
    EXPECT_EQ(token.use_count(), 1);
  });
}

TEST(chan, a_received_value_leaves_no_copy_behind) {
  weft::run([] {
    auto token = std::make_shared<int>(0);
    chan<std::shared_ptr<int>> c(1);
    c.send(token);
    EXPECT_EQ(token.use_count(), 2);
    c.recv();
    EXPECT_EQ(token.use_count(), 1);
  });
}

TEST(chan, may_go_right_after_the_wake) {
  weft::run({.maxprocs = 4}, [] {
    for (int i = 0; i < 2000; ++i) {
      weft::fiber<void> sender;
      {
        chan<int> c;
        sender = weft::spawn([c]() mutable {
          c.send(1);
          c = chan<int>(nullptr);
        });
        EXPECT_EQ(c.recv(), 1);
      }
      sender.join();
    }
  });
}

TEST(chan, what_was_written_before_a_send_is_seen_after_its_receive) {
  weft::run({.maxprocs = 4}, [] {
    for (const int capacity : {0, 1}) {
      chan<int*> c(capacity);
      int plain[500] = {};
      auto sender = weft::spawn([&, c] {
        for (int& value : plain) {
          value = 17;
          c.send(&value);
        }
        c.close();
      });
      for (int* value : c) {
        EXPECT_EQ(*value, 17);
        *value = 0;
      }
      sender.join();
    }
  });
}

TEST(chan, delivers_every_value_once_among_many_senders_and_receivers) {
  for (const int capacity : {0, 1, 64}) {
    weft::run({.maxprocs = 4}, [&] {
      constexpr int each = 500;
      chan<int> c(capacity);
      weft::scope senders;
      for (int s = 0; s < 4; ++s) {
        senders.go([=] {
          for (int i = 0; i < each; ++i) c.send(s * each + i);
        });
      }
      std::vector<weft::fiber<std::vector<int>>> receivers;
      for (int r = 0; r < 4; ++r) {
        receivers.push_back(weft::spawn([=] {
          std::vector<int> mine;
          for (int value : c) mine.push_back(value);
          return mine;
        }));
      }
      senders.join();
      c.close();
      std::vector<int> seen(4 * each, 0);
      for (auto& receiver : receivers) {
        std::array<int, 4> last = {-1, -1, -1, -1};
        for (const int value : receiver.join()) {
          ++seen[static_cast<std::size_t>(value)];
          int& former = last[static_cast<std::size_t>(value / each)];
          EXPECT_LT(former, value) << "one sender's values overtook each other";
          former = value;
        }
      }
      EXPECT_EQ(seen, std::vector<int>(4 * each, 1));
    });
  }
}

TEST(chan, joins_fibers_and_plain_threads) {
  weft::run([] {
    chan<int> to_thread;
    chan<int> from_thread;
    std::thread thread([=] {
      for (int value : to_thread) from_thread.send(2 * value);
      from_thread.close();
    });
    for (int i = 0; i < 100; ++i) {
      to_thread.send(i);
      EXPECT_EQ(from_thread.recv(), 2 * i);
    }
    to_thread.close();
    EXPECT_EQ(from_thread.recv(), std::nullopt);
    weft::blocking([&] { thread.join(); });
  });
}

TEST(chan, the_program_of_the_guide_gives_its_sum) {
  const int status = weft::run([] {
    weft::chan<int> jobs(64), results(64);
    weft::scope s;
    s.go([=] {
      for (int i = 0; i < 1000; ++i) jobs.send(i);
      jobs.close();
    });
    s.go([=] {
      weft::scope workers;
      for (int w = 0; w < 4; ++w) {
        workers.go([=] {
          for (int j : jobs) results.send(j * j);
        });
      }
      workers.join();
      results.close();
    });
    long sum = 0;
    for (int r : results) sum += r;
    s.join();
    return sum == 332833500 ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
}

}  // namespace
