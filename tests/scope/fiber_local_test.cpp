// SPDX-License-Identifier: Apache-2.0
//
// fiber_local: a value for each fiber, which goes with it wherever it runs and ends when it ends.

#include <weft/fiber_local.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

namespace {

struct counted {
  static inline std::atomic<int> alive{0};
  counted() { ++alive; }
  ~counted() { --alive; }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  int value = 0;
};

TEST(fiber_local, is_each_fibers_own_through_all_waits) {
  weft::fiber_local<int> mine;
  weft::fiber_local<std::string> name;
  weft::run({.maxprocs = 4}, [&] {
    *mine = -1;
    weft::scope s;
    for (int i = 0; i < 100; ++i) {
      s.go([&, i] {
        EXPECT_EQ(mine.get(), 0) << "it is inherited, or another fiber's";
        EXPECT_TRUE(name->empty());
        *mine = i;
        *name = std::to_string(i);
        for (int k = 0; k < 20; ++k) {
          weft::yield();
          EXPECT_EQ(*mine, i);
          EXPECT_EQ(*name, std::to_string(i));
        }
      });
    }
    s.join();
    EXPECT_EQ(*mine, -1);
  });
}

TEST(fiber_local, ends_with_its_fiber_before_anybody_hears_of_that) {
  weft::fiber_local<counted> mine;
  weft::run([&] {
    weft::spawn([&] { mine->value = 1; }).join();
    EXPECT_EQ(counted::alive, 0) << "after a join";
    EXPECT_THROW(weft::spawn([&] {
                   mine->value = 1;
                   throw std::runtime_error("ended");
                 }).join(),
                 std::runtime_error);
    EXPECT_EQ(counted::alive, 0) << "after an error";
    {
      weft::scope s;
      s.go([&] { mine->value = 1; });
      s.join();
      EXPECT_EQ(counted::alive, 0) << "after a scope's join";
    }
    mine->value = 1;
    weft::go([&] {
      mine->value = 1;
      weft::chan<void>().recv();  // till it is cancelled
    });
    weft::yield();
  });
  EXPECT_EQ(counted::alive, 0) << "after the end of run, main's among them";
}

// The next fiber has the same stack.
TEST(fiber_local, is_new_in_each_fiber) {
  weft::fiber_local<int> mine;
  weft::run({.maxprocs = 1}, [&] {
    for (int i = 0; i < 1000; ++i) {
      weft::spawn([&] {
        EXPECT_EQ(*mine, 0);
        *mine = 1;
      }).join();
    }
  });
}

struct notes_its_end {
  static inline std::vector<std::string> ends;
  std::string name;
  ~notes_its_end() { ends.push_back(name); }
};

TEST(fiber_local, the_newest_goes_first) {
  notes_its_end::ends.clear();
  weft::fiber_local<notes_its_end> first, second;
  weft::run([&] {
    weft::spawn([&] {
      first->name = "first";
      second->name = "second";
    }).join();
  });
  EXPECT_EQ(notes_its_end::ends, (std::vector<std::string>{"second", "first"}));
}

weft::fiber_local<int> asked_late;
struct asks_at_its_end {
  ~asks_at_its_end() { seen = ++*asked_late; }
  static inline int seen = 0;
};

TEST(fiber_local, may_be_asked_for_by_a_destructor) {
  weft::fiber_local<asks_at_its_end> asks;
  weft::run([&] {
    weft::spawn([&] {
      *asked_late = 7;  // the older one: it is still there
      asks.get();
    }).join();
    EXPECT_EQ(asks_at_its_end::seen, 8);
    weft::spawn([&] {
      asks.get();
      *asked_late = 7;  // the newer one: it is gone, and made again
    }).join();
    EXPECT_EQ(asks_at_its_end::seen, 1);
  });
}

struct waits_at_both_ends {
  waits_at_both_ends() { weft::yield(); }
  ~waits_at_both_ends() { weft::yield(); }
};

TEST(fiber_local, may_hold_what_waits_when_it_is_made_and_destroyed) {
  weft::fiber_local<waits_at_both_ends> waits;
  weft::fiber_local<int> other;
  weft::run({.maxprocs = 2}, [&] {
    weft::scope s;
    for (int i = 0; i < 50; ++i) {
      s.go([&] {
        waits.get();
        EXPECT_EQ(*other, 0);
      });
    }
    s.join();
  });
}

struct throws_once {
  static inline bool has_thrown = false;
  throws_once() {
    if (!std::exchange(has_thrown, true)) throw std::runtime_error("once");
  }
};

TEST(fiber_local, whose_value_cannot_be_made_is_made_by_the_next_call) {
  weft::fiber_local<throws_once> mine;
  weft::run([&] {
    EXPECT_THROW(mine.get(), std::runtime_error);
    EXPECT_EQ(&mine.get(), &*mine);
  });
}

// An address that is used again is no key.
TEST(fiber_local, that_is_gone_leaves_its_values_and_nothing_to_its_successor) {
  weft::run([] {
    auto first = std::make_unique<weft::fiber_local<counted>>();
    (*first)->value = 1;
    first.reset();
    EXPECT_EQ(counted::alive, 1);
    const auto second = std::make_unique<weft::fiber_local<int>>();
    EXPECT_EQ(**second, 0);
  });
  EXPECT_EQ(counted::alive, 0);
}

TEST(fiber_local, of_an_error_handler_is_no_later_fibers) {
  weft::fiber_local<counted> mine;
  weft::run({.maxprocs = 1}, [&] {
    weft::scope s(weft::collect, {.on_error = [&](const std::exception_ptr&) { mine->value = 1; }});
    s.go([] { throw std::runtime_error("handled"); });
    s.join();
    EXPECT_EQ(counted::alive, 0);
    weft::spawn([&] { EXPECT_EQ(mine->value, 0); }).join();
  });
}

struct sleeps_at_its_end {
  static inline int ended = 0;
  ~sleeps_at_its_end() {
    weft::sleep_for(std::chrono::milliseconds(1));
    weft::spawn([] { ++ended; }).join();
  }
};

TEST(fiber_local, of_main_may_wait_when_it_is_destroyed) {
  weft::fiber_local<sleeps_at_its_end> waits;
  weft::run({.maxprocs = 2}, [&] { waits.get(); });
  EXPECT_EQ(sleeps_at_its_end::ended, 1);
}

TEST(fiber_local, is_a_plain_threads_own_too) {
  weft::fiber_local<counted> mine;
  std::thread plain([&] {
    mine->value = 5;
    EXPECT_EQ(mine->value, 5);
    EXPECT_EQ(counted::alive, 1);
  });
  plain.join();
  EXPECT_EQ(counted::alive, 0);
}

}  // namespace
