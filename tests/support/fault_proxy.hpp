// SPDX-License-Identifier: Apache-2.0
//
// A bad network on loopback: a proxy that delays, drips, cuts, stalls and resets what passes through it. It is a plain
// thread with poll(2), none of the library's own code, so that it cannot share a mistake with what it tests.
//
// What happens to a connection follows from its number and the seed (stress.hpp: printed, WEFT_STRESS_SEED sets it).
// Each direction has a fault, and how many bytes pass before it strikes. When a connection ends, both of its sides end.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <weft/net.hpp>

#include "tests/support/stress.hpp"

namespace weft_test {

enum class fault : unsigned {
  none,        ///< passes on, in pieces of any size
  drip,        ///< byte by byte
  delay,       ///< pieces of any size, a moment apart
  half_close,  ///< an end towards the receiver; what the sender still says is lost
  stall,       ///< nothing passes any more, nobody is told: what a half-open peer looks like
  reset,       ///< both sides are reset
};
inline constexpr unsigned harmless_faults = 3;  // none, drip, delay
inline constexpr unsigned all_faults = 6;

class fault_proxy {
 public:
  /// Passes connections on to `target`; each of their directions has one of the first `kinds` faults.
  fault_proxy(const weft::net::endpoint& target, unsigned kinds) : target_(target.port()), kinds_(kinds) {
    sockaddr_in at = loopback(0);
    socklen_t length = sizeof at;
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    stop_ = eventfd(0, EFD_CLOEXEC);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 || listen(listener_, 1000) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &length) != 0)
      abort();
    address = "127.0.0.1:" + std::to_string(ntohs(at.sin_port));
    thread_ = std::thread([this] { run(); });
  }
  ~fault_proxy() {
    eventfd_write(stop_, 1);
    thread_.join();
    links_.clear();
    ::close(listener_);
    ::close(stop_);
  }
  fault_proxy(const fault_proxy&) = delete;
  fault_proxy& operator=(const fault_proxy&) = delete;

  std::string address;

 private:
  struct way {
    fault kind = fault::none;
    std::size_t strikes_after = 0;  ///< bytes
    std::size_t passed = 0;
    std::size_t begin = 0, end = 0;  ///< of what waits in `bytes`
    std::array<char, 4096> bytes;
    int pause = 0;  ///< rounds to wait
    bool source_ended = false, end_told = false;

    bool struck() const { return kind >= fault::half_close && passed >= strikes_after; }
    bool over() const { return end_told; }
  };
  struct link {
    int side[2];  ///< the client's, the server's
    way ways[2];  ///< from side 0 to side 1, and back
    choices choose;

    explicit link(std::uint64_t number) : choose(number) {}
    ~link() {
      ::close(side[0]);
      ::close(side[1]);
    }
  };

  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
  }

  void accept_one() {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) return;
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in at = loopback(target_);
    const int on = 1;
    if (connect(server, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) {
      ::close(server);
      ::close(client);
      return;
    }
    fcntl(server, F_SETFL, O_NONBLOCK);
    for (const int each : {client, server}) setsockopt(each, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto l = std::make_unique<link>(++connections_);
    l->side[0] = client;
    l->side[1] = server;
    for (way& w : l->ways) {
      w.kind = static_cast<fault>(l->choose.below(kinds_));
      w.strikes_after = l->choose.below(3000);
    }
    links_.push_back(std::move(l));
  }

  static void reset(link& l) {
    const linger at_once{1, 0};
    for (const int each : l.side) setsockopt(each, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }

  /// False: the connection is over.
  static bool pass_on(link& l, int from) {
    way& w = l.ways[from];
    const int source = l.side[from], sink = l.side[1 - from];
    if (w.struck() && w.kind == fault::reset) {
      reset(l);
      return false;
    }
    if (w.struck() && w.kind == fault::stall) return true;
    if (w.struck() && w.kind == fault::half_close && !w.end_told) {
      shutdown(sink, SHUT_WR);
      w.end_told = true;
    }
    if (w.begin == w.end && !w.source_ended) {
      const ssize_t n = recv(source, w.bytes.data(), w.bytes.size(), 0);
      if (n < 0 && errno != EAGAIN && errno != EINTR) {
        reset(l);
        return false;
      }
      w.begin = 0;
      w.end = n > 0 ? static_cast<std::size_t>(n) : 0;
      w.source_ended = n == 0;
    }
    if (w.end_told) {
      w.begin = w.end;  // lost
      return true;
    }
    if (w.begin < w.end) {
      if (w.pause > 0) {
        --w.pause;
        return true;
      }
      std::size_t most = w.end - w.begin;
      if (w.kind == fault::drip)
        most = 1;
      else
        most = std::min<std::size_t>(most, 1 + l.choose.below(most > 1 ? static_cast<unsigned>(most) : 1));
      if (w.kind >= fault::half_close) most = std::min(most, w.strikes_after - w.passed);
      if (w.kind == fault::delay) w.pause = static_cast<int>(l.choose.below(3));
      const ssize_t n = send(sink, w.bytes.data() + w.begin, most, MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN && errno != EINTR) {
        reset(l);
        return false;
      }
      if (n > 0) {
        w.begin += static_cast<std::size_t>(n);
        w.passed += static_cast<std::size_t>(n);
      }
    } else if (w.source_ended) {
      shutdown(sink, SHUT_WR);
      w.end_told = true;
    }
    return !(l.ways[0].over() && l.ways[1].over());
  }

  void run() {
    pthread_setname_np(pthread_self(), "weft-bad-net");  // no thread that could wake a fiber, to the deadlock report
    std::vector<pollfd> what;
    for (;;) {
      what.clear();
      what.push_back({stop_, POLLIN, 0});
      what.push_back({listener_, POLLIN, 0});
      bool busy = false;
      for (const auto& l : links_)
        for (int from = 0; from < 2; ++from) {
          way& w = l->ways[from];
          const bool stalled = w.struck() && w.kind == fault::stall;
          if (w.begin < w.end && !stalled && !w.end_told)
            what.push_back({l->side[1 - from], static_cast<short>(w.pause > 0 ? 0 : POLLOUT), 0});
          else if (!w.source_ended && !stalled)
            what.push_back({l->side[from], POLLIN, 0});
          busy = busy || w.pause > 0;
        }
      poll(what.data(), what.size(), busy ? 1 : 50);
      if (what[0].revents != 0) return;
      if (what[1].revents != 0) accept_one();
      for (auto& l : links_)
        if (!pass_on(*l, 0) || !pass_on(*l, 1)) l.reset();
      links_.erase(std::remove(links_.begin(), links_.end(), nullptr), links_.end());
    }
  }

  std::uint16_t target_;
  unsigned kinds_;
  int listener_ = -1, stop_ = -1;
  std::uint64_t connections_ = 0;
  std::vector<std::unique_ptr<link>> links_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace weft_test
