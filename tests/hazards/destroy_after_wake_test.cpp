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

// Who asks again and again keeps the CPU from the helper that would answer: below, one round in 16.

TEST_F(destroy_after_wake, shared_mutex) {
  rounds(scaled(10'000), [](helper& h, int i) {
    auto mutex = std::make_unique<weft::shared_mutex>();
    weft::chan<void> locked(1);
    h.call([m = mutex.get(), locked, i] {
      if (i % 2 == 0)
        m->lock_shared();
      else
        m->lock();
      locked.send();
      if (i % 3 == 0) weft::yield();
      if (i % 2 == 0)
        m->unlock_shared();
      else
        m->unlock();
    });
    locked.recv();
    if (i % 16 == 0) {
      while (!mutex->try_lock_for(3us)) {
      }
      mutex->unlock();
    } else if (i % 3 == 1) {
      mutex->lock_shared();
      mutex->unlock_shared();
      mutex->lock();
      mutex->unlock();
    } else {
      mutex->lock();
      mutex->unlock();
    }
    mutex.reset();
  });
}

TEST_F(destroy_after_wake, semaphore) {
  rounds(scaled(10'000), [](helper& h, int i) {
    auto semaphore = std::make_unique<weft::semaphore>(0);
    h.call([s = semaphore.get(), i] {
      if (i % 2 == 0) weft::yield();
      s->release(2);
    });
    if (i % 16 == 0) {
      while (!semaphore->try_acquire_for(3us, 2)) {
      }
    } else if (i % 16 == 1) {
      while (!semaphore->try_acquire(2)) weft::yield();
    } else {
      semaphore->acquire(2);
    }
    semaphore.reset();
  });
}

// Both go: whoever was notified may destroy it, though the notifier is still inside.
TEST_F(destroy_after_wake, condition_variable) {
  rounds(scaled(10'000), [](helper& h, int i) {
    weft::mutex mutex;  // of longer life: the notifier unlocks it first
    auto changed = std::make_unique<weft::condition_variable>();
    bool ready = false;
    std::unique_lock lock(mutex);
    h.call([&mutex, &ready, c = changed.get(), i] {
      const std::lock_guard guard(mutex);
      ready = true;
      if (i % 2 == 0)
        c->notify_one();
      else
        c->notify_all();
    });
    if (i % 16 == 0) {
      while (!changed->wait_for(lock, 3us, [&] { return ready; })) {
      }
    } else {
      changed->wait(lock, [&] { return ready; });
    }
    changed.reset();
  });
}

// One of two who were notified destroys it while the other may still be on its way to sleep.
TEST_F(destroy_after_wake, condition_variable_with_two_waiters) {
  rounds(scaled(5'000), [](helper& h, int) {
    struct shared {
      weft::mutex mutex;
      std::unique_ptr<weft::condition_variable> changed = std::make_unique<weft::condition_variable>();
      int waiting = 0;
    };
    const auto s = std::make_shared<shared>();
    weft::chan<void> through(2);
    const auto wait = [s, through] {
      std::unique_lock lock(s->mutex);
      ++s->waiting;
      s->changed->wait(lock);
      s->changed.reset();
      lock.unlock();
      through.send();
    };
    h.call(wait);
    weft::go(wait);
    for (bool notified = false; !notified; weft::yield()) {
      const std::lock_guard guard(s->mutex);
      if (s->waiting != 2) continue;
      s->changed->notify_all();
      notified = true;
    }
    through.recv();
    through.recv();
  });
}

TEST_F(destroy_after_wake, latch) {
  rounds(scaled(10'000), [](helper& h, int i) {
    auto latch = std::make_unique<weft::latch>(2);
    h.call([l = latch.get(), i] {
      if (i % 2 == 0) weft::yield();
      l->count_down();
    });
    if (i % 16 == 0) {
      latch->count_down();
      while (!latch->try_wait()) weft::yield();
    } else {
      latch->arrive_and_wait();
    }
    latch.reset();
  });
}

TEST_F(destroy_after_wake, event) {
  rounds(scaled(10'000), [](helper& h, int i) {
    auto event = std::make_unique<weft::event>();
    h.call([e = event.get(), i] {
      if (i % 2 == 0) weft::yield();
      e->set();
    });
    if (i % 16 == 0) {
      while (!event->wait_for(3us)) {
      }
    } else if (i % 16 == 1) {
      while (!event->is_set()) weft::yield();
    } else {
      event->wait();
    }
    event.reset();
  });
}

TEST_F(destroy_after_wake, once_flag) {
  rounds(scaled(10'000), [](helper& h, int i) {
    auto flag = std::make_unique<weft::once_flag>();
    weft::chan<void> inside(1);
    h.call([f = flag.get(), inside, i] {
      weft::call_once(*f, [&] {
        inside.send();
        if (i % 2 == 0) weft::yield();
      });
    });
    inside.recv();
    weft::call_once(*flag, [] { ADD_FAILURE() << "somebody is at it"; });
    flag.reset();
  });
}

TEST_F(destroy_after_wake, barrier) {
  rounds(scaled(10'000), [](helper& h, int i) {
    auto barrier = std::make_unique<weft::barrier<>>(2);
    h.call([b = barrier.get(), i] {
      if (i % 2 == 0) weft::yield();
      b->arrive_and_drop();
    });
    barrier->arrive_and_wait();
    barrier.reset();
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
