// SPDX-License-Identifier: Apache-2.0
//
// Hazard: whoever is let go may destroy at once what it waited on, while its waker is still inside. Each object here
// lives on the heap and goes right after the wait, thousands of times; an address sanitizer sees the waker that touches
// it late.

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include <weft/weft.hpp>

#include "tests/support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::scaled;

class destroy_after_wake : public weft_test::stress {};

/// Calls what it is given, from a fiber or from a plain thread that stays the same: two wakers that take different
/// ways.
class helper {
 public:
  explicit helper(bool plain) {
    if (plain)
      thread_ = std::thread([w = work_] { serve(w); });
    else
      fiber_ = weft::spawn([w = work_] { serve(w); });
  }
  ~helper() {
    work_.close();
    if (thread_.joinable()) weft::blocking([&] { thread_.join(); });
    if (fiber_.joinable()) fiber_.join();
  }
  helper(const helper&) = delete;
  helper& operator=(const helper&) = delete;

  template <class F>
  void call(F f) {
    work_.send(std::function<void()>(std::move(f)));
  }

 private:
  static void serve(weft::chan<std::function<void()>> work) {
    for (auto& f : work) f();
  }
  weft::chan<std::function<void()>> work_{4};
  std::thread thread_;
  weft::fiber<void> fiber_;
};

template <class Round>
void rounds(int count, Round round) {
  for (const bool plain : {false, true}) {
    weft::run([&] {
      helper h(plain);
      for (int i = 0; i < count; ++i) {
        round(h, i);
        if (testing::Test::HasFatalFailure()) return;
      }
    });
  }
}

TEST_F(destroy_after_wake, wait_group) {
  rounds(scaled(20'000), [](helper& h, int i) {
    auto group = std::make_unique<weft::wait_group>();
    group->add(2);
    h.call([g = group.get()] {
      g->done();
      g->done();
    });
    if (i % 2 == 0) weft::yield();
    if (i % 3 == 0) {
      while (!group->wait_for(3us)) {
      }
    } else {
      group->wait();
    }
    group.reset();
  });
}

TEST_F(destroy_after_wake, mutex) {
  rounds(scaled(20'000), [](helper& h, int i) {
    auto mutex = std::make_unique<weft::mutex>();
    weft::chan<void> locked(1);
    h.call([m = mutex.get(), locked, i] {
      m->lock();
      locked.send();
      if (i % 2 == 0) weft::yield();
      m->unlock();
    });
    locked.recv();
    mutex->lock();
    mutex->unlock();
    mutex.reset();
  });
}

TEST_F(destroy_after_wake, scope) {
  rounds(scaled(5'000), [](helper& h, int i) {
    auto scope = std::make_unique<weft::scope>();
    weft::chan<void> gate;
    for (int k = 0; k < 3; ++k) scope->go([gate] { gate.recv(); });
    h.call([gate] { gate.close(); });
    if (i % 2 == 0) weft::yield();
    scope->join();
    scope.reset();
  });
}

TEST_F(destroy_after_wake, scope_without_join) {
  rounds(scaled(5'000), [](helper& h, int i) {
    auto scope = std::make_unique<weft::scope>();
    weft::chan<void> gate;
    for (int k = 0; k < 3; ++k) scope->go([gate] { gate.recv(); });
    if (i % 2 == 0)
      h.call([gate] { gate.close(); });
    else
      scope->cancel();
    scope.reset();
  });
}

TEST_F(destroy_after_wake, channel_whose_last_handle_goes_after_a_receive) {
  rounds(scaled(20'000), [](helper& h, int i) {
    auto c = std::make_unique<weft::chan<std::unique_ptr<int>>>(i % 2);
    h.call([other = *c]() mutable {
      other.send(std::make_unique<int>(7));
      other = weft::chan<std::unique_ptr<int>>(nullptr);
    });
    const auto value = c->recv();
    ASSERT_EQ(**value, 7);
    c.reset();
  });
}

TEST_F(destroy_after_wake, channel_whose_last_handle_goes_after_a_send_or_a_close) {
  rounds(scaled(20'000), [](helper& h, int i) {
    auto c = std::make_unique<weft::chan<int>>();
    h.call([other = *c, i] {
      if (i % 2 == 0)
        other.recv();
      else
        other.close();
    });
    if (i % 2 == 0)
      c->send(1);
    else
      EXPECT_EQ(c->recv(), std::nullopt);
    c.reset();
  });
}

TEST_F(destroy_after_wake, fiber_handle) {
  rounds(scaled(20'000), [](helper& h, int i) {
    weft::chan<void> gate(1);
    auto handle = std::make_unique<weft::fiber<int>>(weft::spawn([gate, i] {
      gate.recv();
      return i;
    }));
    h.call([gate] { gate.send(); });
    if (i % 4 == 0)
      handle.reset();
    else
      ASSERT_EQ(handle->join(), i);
    handle.reset();
  });
}

TEST_F(destroy_after_wake, cancel_scope) {
  rounds(scaled(10'000), [](helper& h, int) {
    auto region = std::make_unique<weft::cancel_scope>();
    weft::chan<void> cancelled(1);
    h.call([r = region.get(), cancelled] {
      r->cancel();
      cancelled.send();
    });
    EXPECT_FALSE(region->run([] { weft::sleep_for(1h); }));
    cancelled.recv();  // `cancel` is a call like any other: it must have returned
    region.reset();
  });
}

// The wait's own memory: a frame that is left, and used again, at once.
TEST_F(destroy_after_wake, waiters_on_the_stack) {
  rounds(scaled(20'000), [](helper& h, int i) {
    weft::chan<int> c;
    h.call([c] { (void)c.send_for(1, 3us); });
    const auto got = c.recv_for(3us);
    volatile char scribble[512];
    for (volatile char& byte : scribble) byte = static_cast<char>(i);
    ASSERT_TRUE(got.status != weft::chan_status::ok || *got.value == 1);
  });
}

}  // namespace
