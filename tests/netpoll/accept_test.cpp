// SPDX-License-Identifier: Apache-2.0
//
// Accepting when descriptors run out: the listener waits by the clock, not by burning the CPU, takes in everybody once there is room
// again, and can be closed or cancelled meanwhile.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/sched/scheduler.hpp"
#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::tcp_stream;

/// While it lives the process can open so many descriptors and no more.
class few_descriptors {
 public:
  explicit few_descriptors(int more) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int highest = dup(0);
    ::close(highest);
    rlimit now = before_;
    now.rlim_cur = static_cast<rlim_t>(highest + more);
    setrlimit(RLIMIT_NOFILE, &now);
  }
  ~few_descriptors() { lift(); }
  void lift() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

/// How often any fiber has parked so far.
std::int64_t parks() {
  std::int64_t sum = 0;
  for (int i = 0; i < weft::rt::sched.known_procs.load(); ++i) sum += weft::rt::sched.all_ps[i].load()->parks.get();
  return sum;
}

/// Sockets that have asked for a connection, and need no more descriptors to get it.
std::vector<int> callers(const weft::net::endpoint& at, int count) {
  std::vector<int> sockets;
  for (int i = 0; i < count; ++i) sockets.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(at.port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (const int each : sockets) EXPECT_EQ(connect(each, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  return sockets;
}

void hang_up(const std::vector<int>& sockets) {
  for (const int each : sockets) ::close(each);
}

TEST(accept, without_descriptors_waits_and_then_takes_in_everybody) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const auto waiting_callers = callers(listener.local_endpoint(), 3);
    few_descriptors none(0);
    auto acceptor = weft::spawn([&] {
      std::vector<tcp_stream> accepted;
      for (int i = 0; i < 3; ++i) accepted.push_back(*listener.accept());
      return accepted.size();
    });
    until_waiting(1);
    // Six attempts in 300 ms, after pauses of 5 ms and more. One that did not park would not have got here; one that is woken at once
    // each time would be at thousands.
    const auto before = parks();
    weft::sleep_for(300ms);
    EXPECT_LT(parks() - before, 100);
    EXPECT_FALSE(acceptor.done());
    none.lift();
    EXPECT_EQ(acceptor.join(), 3u);
    hang_up(waiting_callers);
  });
}

TEST(accept, without_descriptors_can_be_closed) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const auto waiting_callers = callers(listener.local_endpoint(), 1);
    few_descriptors none(0);
    auto acceptor = weft::spawn([&] { return listener.accept().has_value(); });
    until_waiting(1);
    listener.close();
    EXPECT_FALSE(acceptor.join());
    none.lift();
    hang_up(waiting_callers);
  });
}

TEST(accept, without_descriptors_can_be_cancelled_and_has_its_deadline) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const auto waiting_callers = callers(listener.local_endpoint(), 1);
    few_descriptors none(0);
    EXPECT_THROW(weft::with_timeout(1ms, [&] { static_cast<void>(listener.accept()); }), weft::timed_out);
    listener.set_deadline(weft::clock::now() + 1ms);
    std::error_code error;
    EXPECT_FALSE(listener.accept(error).has_value());
    EXPECT_EQ(error, std::errc::timed_out);
    none.lift();
    listener.set_deadline(weft::clock::time_point::max());
    EXPECT_TRUE(listener.accept().has_value());
    hang_up(waiting_callers);
  });
}

// Whether the kernel reports the ones that are gone, or hands them out dead: the listener lives on.
TEST(accept, passes_over_connections_that_died_in_the_queue) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const auto dead = callers(listener.local_endpoint(), 20);
    for (const int each : dead) {
      const linger at_once{1, 0};
      setsockopt(each, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    hang_up(dead);
    const auto alive = callers(listener.local_endpoint(), 1);
    ASSERT_EQ(::send(alive[0], "!", 1, 0), 1);
    for (bool found = false; !found;) {
      auto s = *listener.accept();
      std::error_code error;
      char c = 0;
      found = s.read_some(std::span(&c, 1), error) == 1 && c == '!';
    }
    hang_up(alive);
  });
}

TEST(accept, is_shared_by_several_fibers) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    constexpr int each = 20;
    weft::scope s;
    for (int i = 0; i < 4; ++i)
      s.go([&] {
        for (int k = 0; k < each; ++k) {
          auto stream = *listener.accept();
          write_text(stream, "x");
        }
      });
    for (int i = 0; i < 4 * each; ++i)
      s.go([&] {
        auto stream = weft::net::connect(listener.local_endpoint().to_string());
        EXPECT_EQ(read_text(stream, 1), "x");
      });
    s.join();
  });
}

}  // namespace
