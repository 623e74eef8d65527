// SPDX-License-Identifier: Apache-2.0
//
// Users' types bring their namespaces along: the headers call nothing of theirs by an unqualified name, drop results
// that must not be dropped without a warning, and take handlers and values of every category.

#pragma GCC diagnostic error "-Wunused-result"
#pragma GCC diagnostic error "-Wunused-value"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

namespace greedy {

// Each takes anything, and fails to compile if the headers call it.
#define TAKES_ANYTHING(name)    \
  template <class... Arguments> \
  void name(Arguments&&...) = delete
TAKES_ANYTHING(handle);
TAKES_ANYTHING(run_handler);
TAKES_ANYTHING(converted);
TAKES_ANYTHING(take);
TAKES_ANYTHING(look);
TAKES_ANYTHING(result);
TAKES_ANYTHING(move);
TAKES_ANYTHING(forward);
TAKES_ANYTHING(addressof);
TAKES_ANYTHING(destroy_at);
TAKES_ANYTHING(construct_at);
TAKES_ANYTHING(exchange);
TAKES_ANYTHING(invoke);
TAKES_ANYTHING(apply);
TAKES_ANYTHING(get);
TAKES_ANYTHING(begin);
TAKES_ANYTHING(end);
TAKES_ANYTHING(size);
TAKES_ANYTHING(data);
TAKES_ANYTHING(time_left);
TAKES_ANYTHING(try_until);
TAKES_ANYTHING(spawn_closure);
TAKES_ANYTHING(spawn_task);
TAKES_ANYTHING(bind_call);
TAKES_ANYTHING(run_closure);
TAKES_ANYTHING(select_among);
TAKES_ANYTHING(chan_send);
TAKES_ANYTHING(chan_receive);
TAKES_ANYTHING(chan_try_send);
TAKES_ANYTHING(chan_try_receive);
TAKES_ANYTHING(chan_send_for);
TAKES_ANYTHING(chan_receive_for);
TAKES_ANYTHING(chan_send_case);
TAKES_ANYTHING(chan_receive_case);
TAKES_ANYTHING(timed_call_of);
TAKES_ANYTHING(run);
TAKES_ANYTHING(go);
TAKES_ANYTHING(spawn);
TAKES_ANYTHING(select);
TAKES_ANYTHING(with_deadline);
TAKES_ANYTHING(blocking);
TAKES_ANYTHING(call_once);
#undef TAKES_ANYTHING

struct value {
  int v = 0;
};

struct handler {
  int* seen;
  void operator()(std::optional<value> got) const { *seen = got->v; }
};

struct callable {
  value operator()() const { return {1}; }
  value operator()(value with) const { return with; }
};

struct clock {
  using rep = long;
  using period = std::nano;
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<clock>;
  static constexpr bool is_steady = true;
  static time_point now() { return time_point(std::chrono::steady_clock::now().time_since_epoch()); }
};

}  // namespace greedy

namespace {

using namespace std::chrono_literals;

TEST(users_names, are_not_called_through_elements_and_handlers) {
  weft::run([] {
    weft::chan<greedy::value> c(4);
    int seen = 0;
    c.send(greedy::value{3});
    weft::select(weft::on_recv(c, greedy::handler{&seen}));
    EXPECT_EQ(seen, 3);
    weft::select(weft::on_send(c, greedy::value{4}, greedy::callable{}));
    weft::selector late;
    late.on_recv(c, greedy::handler{&seen});
    late.run();
    EXPECT_EQ(seen, 4);
    const greedy::value five{5};
    c.send(five);
    EXPECT_EQ(c.try_send(greedy::value{6}), weft::chan_status::ok);
    EXPECT_EQ(c.send_for(five, 1ms), weft::chan_status::ok);
    EXPECT_EQ(c.try_recv()->v, 5);
    EXPECT_EQ(c.recv_for(1ms)->v, 6);
    c.close();
    for (const greedy::value& v : c) EXPECT_EQ(v.v, 5);
    auto [tx, rx] = weft::channel<greedy::value>(1);
    tx.send({7});
    EXPECT_EQ(rx.recv()->v, 7);
  });
}

TEST(users_names, are_not_called_through_functions_and_results) {
  weft::run([] {
    weft::go(greedy::callable{});
    weft::go(greedy::callable{}, greedy::value{2});
    EXPECT_EQ(weft::spawn(greedy::callable{}, greedy::value{2}).join().v, 2);
    weft::scope s;
    s.go(greedy::callable{}, greedy::value{2});
    EXPECT_EQ(s.spawn(greedy::callable{}).join().v, 1);
    s.join();
    weft::wait_group g;
    g.go(greedy::callable{});
    g.wait();
    EXPECT_EQ(weft::blocking(greedy::callable{}).v, 1);
    EXPECT_EQ(weft::with_timeout(1h, greedy::callable{}).v, 1);
    EXPECT_EQ(weft::shield(greedy::callable{}).v, 1);
    weft::cancel_scope cs;
    EXPECT_TRUE(cs.run(greedy::callable{}));
    EXPECT_EQ(weft::once_value(greedy::callable{})().v, 1);
    const weft::timer t(1h, greedy::callable{});
  });
}

TEST(users_names, are_not_called_through_clocks) {
  weft::run([] {
    weft::mutex m;
    EXPECT_TRUE(m.try_lock_until(greedy::clock::now() + 1h));
    EXPECT_FALSE(m.try_lock_until(greedy::clock::now() + 1ms));
    m.unlock();
    weft::shared_mutex shared;
    EXPECT_TRUE(shared.try_lock_until(greedy::clock::now() + 1h));
    EXPECT_FALSE(shared.try_lock_shared_until(greedy::clock::now() + 1ms));
    shared.unlock();
    weft::condition_variable cv;
    std::unique_lock lock(m);
    EXPECT_EQ(cv.wait_until(lock, greedy::clock::now()), std::cv_status::timeout);
  });
}

// --- results that must not be dropped without a word ---

struct [[nodiscard]] status {
  int v;
};
status work(int v) { return {v}; }

TEST(users_results, marked_nodiscard_are_dropped_without_a_warning) {
  weft::run([] {
    weft::go(work, 1);
    weft::scope s;
    s.go([] { return work(2); });
    s.go(work, 2);
    s.join();
    weft::wait_group g;
    g.go([] { return work(2); });
    g.wait();
    weft::cancel_scope cs;
    EXPECT_TRUE(cs.run([] { return work(1); }));
    weft::once_flag once;
    weft::call_once(once, work, 1);
    weft::chan<int> c(1);
    weft::select(weft::on_send(c, 1, [] { return work(3); }));
    weft::select(weft::on_recv(c, [](std::optional<int>) { return work(3); }));
    weft::select(weft::on_default([] { return work(3); }));
    weft::timer t(0s, [] { return work(1); });
  });
}

// --- categories of handlers and values ---

struct once_only {
  std::unique_ptr<int> owned;
  int* seen;
  void operator()(std::optional<int> v) && { *seen = *v + *owned; }
};
struct lvalue_only {
  int* seen;
  void operator()(std::optional<int> v) & { *seen = *v; }
};

TEST(users_handlers, may_be_callable_as_rvalues_or_as_lvalues_only) {
  weft::run([] {
    weft::chan<int> c(1);
    int seen = 0;
    c.send(1);
    weft::select(weft::on_recv(c, once_only{std::make_unique<int>(10), &seen}));
    EXPECT_EQ(seen, 11);
    c.send(2);
    weft::selector late;
    late.on_recv(c, once_only{std::make_unique<int>(20), &seen});
    late.run();
    EXPECT_EQ(seen, 22);
    c.send(3);
    weft::select(weft::on_recv(c, lvalue_only{&seen}));
    EXPECT_EQ(seen, 3);
  });
}

template <class Channel, class Value>
concept case_sends = requires(const Channel& c, Value&& v) {
  weft::on_send(c, std::forward<Value>(v));
};
template <class Channel, class Value>
concept selector_sends = requires(weft::selector& s, const Channel& c, Value&& v) {
  s.on_send(c, std::forward<Value>(v));
};
template <class Channel, class Value>
concept sends = requires(const Channel& c, Value&& v) {
  c.send(std::forward<Value>(v));
};

// A case converts as `send` does: implicitly only.
template <class T, class Value>
constexpr bool sends_alike =
    sends<weft::chan<T>, Value> == case_sends<weft::chan<T>, Value>&& sends<weft::chan<T>, Value> ==
    selector_sends<weft::chan<T>, Value>;
static_assert(sends_alike<std::unique_ptr<int>, int*> && !sends<weft::chan<std::unique_ptr<int>>, int*>);
static_assert(sends_alike<std::unique_ptr<int>, std::unique_ptr<int>&>);
static_assert(sends_alike<std::unique_ptr<int>, std::unique_ptr<int>>);
static_assert(sends_alike<std::vector<int>, int> && !sends<weft::chan<std::vector<int>>, int>);
static_assert(sends_alike<std::chrono::milliseconds, int> &&
              sends_alike<std::chrono::milliseconds, std::chrono::hours>);
static_assert(sends_alike<std::string, const char*> && sends<weft::chan<std::string>, const char*>);

TEST(users_values, may_be_written_in_braces_in_a_case) {
  weft::run([] {
    weft::chan<std::pair<int, int>> c(1);
    weft::select(weft::on_send(c, {1, 2}));
    EXPECT_EQ(c.recv(), std::pair(1, 2));
  });
}

struct immovable {
  int v;
  explicit immovable(int x) : v(x) {}
  immovable(immovable&&) = delete;
};

TEST(users_results, that_cannot_be_moved_are_returned_in_place) {
  weft::run([] {
    const immovable a = weft::blocking([] { return immovable(1); });
    const immovable b = weft::with_timeout(1h, [] { return immovable(2); });
    const immovable c = weft::shield([] { return immovable(3); });
    EXPECT_EQ(a.v + b.v + c.v, 6);
  });
}

template <class T>
concept has_chan = requires(T&& t) {
  std::forward<T>(t).chan();
};
static_assert(has_chan<weft::ticker&> && !has_chan<weft::ticker>);
static_assert(has_chan<const weft::timer&> && !has_chan<weft::timer>);

TEST(users_durations, that_are_no_number_are_refused) {
  using seconds = std::chrono::duration<double>;
  const seconds nan(std::numeric_limits<double>::quiet_NaN());
  weft::run([&] {
    EXPECT_THROW(weft::sleep_for(nan), std::invalid_argument);
    EXPECT_THROW(weft::chan<int>().recv_for(nan), std::invalid_argument);
    EXPECT_THROW(weft::with_timeout(nan, [] {}), std::invalid_argument);
    EXPECT_THROW(weft::timer{nan}, std::invalid_argument);
    EXPECT_THROW(weft::ticker{nan}, std::invalid_argument);
    weft::sleep_for(seconds(-std::numeric_limits<double>::infinity()));
    weft::sleep_for(std::chrono::duration<float, std::milli>(1.F));
    EXPECT_FALSE(weft::event().wait_for(seconds(0.001)));
    EXPECT_EQ(weft::with_timeout(seconds(std::numeric_limits<double>::infinity()), [] { return 1; }), 1);
  });
}

}  // namespace
