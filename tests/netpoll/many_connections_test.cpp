// SPDX-License-Identifier: Apache-2.0
//
// As many connections as the limit on descriptors allows, with the clients in a process of their own: those who answer
// at once, those who take their time, those who finish sending and go on reading, those who reset, and in the end all
// who are left vanish with their process. Every byte comes back, nobody costs anything while he is silent, and what the
// server held for them is given back. And the limit itself: a listener that has reached it waits for others to go.
//
// Client and server are both children: what they do to their limits, and a fork beside a runtime, is no other test's
// business. They tell each other where they are over a pair of pipes.

#include <gtest/gtest.h>

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/support/backend.hpp"
#include "tests/support/child.hpp"
#include "tests/support/stress.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

std::atomic<long> looks{0};  // into the poller, with no end or none at all

// Of accept4, for want of descriptors, one after the other. One fiber accepts, and so writes these.
constexpr int noted = 5;
std::atomic<int> attempts{0}, refusals{0};
std::chrono::steady_clock::time_point refused_at[noted];
int attempts_by_then[noted];

}  // namespace

// Before the C library's: to count.
extern "C" int epoll_wait(int epoll, epoll_event* events, int room, int timeout) {
  ++looks;
  return epoll_pwait(epoll, events, room, timeout, nullptr);
}
extern "C" int accept4(int fd, sockaddr* peer, socklen_t* length, int flags) {
  ++attempts;
  const auto got = static_cast<int>(syscall(SYS_accept4, fd, peer, length, flags));
  if (refusals == noted) return got;
  if (got >= 0) {
    refusals = 0;  // the runtime has given back a descriptor of its own: a new start
  } else if (errno == EMFILE) {
    refused_at[refusals] = std::chrono::steady_clock::now();
    attempts_by_then[refusals] = attempts;
    ++refusals;
  }
  return got;
}

namespace {

using namespace std::chrono_literals;
using weft::net::tcp_stream;
using weft_test::require;
using weft_test::scaled;
using weft_test::until;

constexpr unsigned patience = 100;  // seconds
constexpr int wanted = scaled(20'000);
constexpr int fewest = 2'000;
constexpr int spare = 100;  // descriptors that are no connections

/// Raises the limit as far as it goes; how many connections it allows.
int raise_descriptor_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit enough{rlim_t{wanted} + spare, std::max(limit.rlim_max, rlim_t{wanted} + spare)};
  if (setrlimit(RLIMIT_NOFILE, &enough) != 0) {  // beyond the hard limit only the privileged may go
    const rlimit most{limit.rlim_max, limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &most);
  }
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int>(std::min(limit.rlim_cur, rlim_t{wanted} + spare)) - spare;
}

/// Nothing else: the runtime itself opens files at times.
int open_sockets() {
  DIR* const all = opendir("/proc/self/fd");
  require(all != nullptr, "/proc/self/fd can be read");
  int count = 0;
  while (const dirent* entry = readdir(all)) {
    char target[64];
    const ssize_t length = readlinkat(dirfd(all), entry->d_name, target, sizeof target);
    if (length > 0 && std::string_view(target, static_cast<std::size_t>(length)).starts_with("socket:")) ++count;
  }
  closedir(all);
  return count;
}

long context_switches() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nvcsw;
}

double cpu_milliseconds() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) * 1e3 + static_cast<double>(used.tv_nsec) / 1e6;
}

/// Numbers from one process to the other. `next` blocks the thread.
class messages {
 public:
  messages() { require(pipe2(ends_, O_CLOEXEC) == 0, "a pipe"); }

  void send(std::int64_t number) const {
    require(write(ends_[1], &number, sizeof number) == sizeof number, "the other process reads");
  }
  std::int64_t next() const {
    std::int64_t number = 0;
    ssize_t got = 0;
    do got = read(ends_[0], &number, sizeof number);
    while (got < 0 && errno == EINTR);
    require(got == sizeof number, "the other process lives");
    return number;
  }
  void only_read() { close(std::exchange(ends_[1], -1)); }
  void only_write() { close(std::exchange(ends_[0], -1)); }

 private:
  int ends_[2];
};

struct line {
  messages to_server, to_client;
};

/// The client's process: it ends with `body`'s code, or is killed.
template <class F>
pid_t start_client(line& between, F body) {
  const pid_t client = fork();
  if (client == 0) {
    alarm(patience);
    between.to_client.only_read();
    between.to_server.only_write();
    _exit(body());
  }
  between.to_server.only_read();
  between.to_client.only_write();
  return client;
}

// --- the server ---

std::atomic<int> echoes_begun{0};

void echo(tcp_stream s) {
  ++echoes_begun;
  char room[4096];
  std::error_code error;
  while (const std::size_t got = s.read_some(std::span(room), error)) {
    if (error) return;
    s.write_all(std::span<const char>(room, got), error);
    if (error) return;
  }
}

void accept_all(weft::net::tcp_listener& from, weft::scope& connections) {
  while (auto s = from.accept()) connections.go([s = std::move(*s)]() mutable { echo(std::move(s)); });
}

// --- the clients ---

enum class manner { prompt, slow, half_closing, resetting };
constexpr manner manner_of(int i) {
  switch (i % 8) {
    case 0:
      return manner::slow;
    case 1:
      return manner::half_closing;
    case 2:
      return manner::resetting;
    default:
      return manner::prompt;
  }
}
constexpr bool stays(int i) { return manner_of(i) == manner::prompt || manner_of(i) == manner::slow; }

/// Nobody else's: four bytes are the number of the connection. Some are longer than the server's buffer.
std::string text_of(int i) {
  std::string text(i % 50 == 3 ? 6000 : 40u + static_cast<unsigned>(i) % 50, '\0');
  for (std::size_t k = 0; k < text.size(); ++k)
    text[k] = static_cast<char>(k < 4 ? i >> (8 * k) : (static_cast<std::size_t>(i) * 31 + k * 7));
  return text;
}

void write_part(tcp_stream& s, const std::string& text, std::size_t from, std::size_t to) {
  s.write_all(std::span<const char>(text.data() + from, to - from));
}

std::string read_back(tcp_stream& s, std::size_t size) {
  std::string text(size, '\0');
  s.read_exactly(std::span<char>(text));
  return text;
}

/// What connection `i` does before everybody falls silent; how many bytes came back right.
std::size_t converse(tcp_stream& s, int i, weft::wait_group& quick_ones) {
  const std::string text = text_of(i);
  const std::size_t half = manner_of(i) == manner::slow ? text.size() / 2 : text.size();
  write_part(s, text, 0, half);
  if (manner_of(i) == manner::slow) {
    quick_ones.wait();
    write_part(s, text, half, text.size());
  }
  if (manner_of(i) == manner::half_closing) s.shutdown_write();
  require(read_back(s, text.size()) == text, "what comes back is what was sent");
  switch (manner_of(i)) {
    case manner::half_closing: {
      char more = 0;
      require(s.read_some(std::span(&more, 1)) == 0, "nothing comes after what was sent");
      s.close();
      break;
    }
    case manner::resetting: {
      const linger at_once{1, 0};
      setsockopt(s.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      write_part(s, text, 0, text.size());  // its echo meets nobody
      s.close();
      break;
    }
    case manner::prompt:
      if (i % 16 == 3) {  // leaves a byte unread: its end is a reset
        write_part(s, text, 0, 2);
        require(read_back(s, 1) == text.substr(0, 1), "the next byte comes back");
      }
      break;
    case manner::slow:
      break;
  }
  return text.size();
}

constexpr int listeners = 4;  // each on an address of its own: a pair of addresses has only 28 000 ports

int run_clients(const line& between, int count) {
  weft::run({.deadlock = weft::deadlock_policy::off}, [&] {
    std::string addresses[listeners];
    for (int l = 0; l < listeners; ++l)
      addresses[l] = "127.0.0." + std::to_string(l + 1) + ":" +
                     std::to_string(weft::blocking([&] { return between.to_client.next(); }));

    std::vector<tcp_stream> streams(static_cast<std::size_t>(count));
    {
      constexpr int openers = 64;
      weft::scope opening;
      for (int o = 0; o < openers; ++o)
        opening.go([&, o] {
          for (int i = o; i < count; i += openers)
            streams[static_cast<std::size_t>(i)] = weft::net::connect(addresses[i % listeners]);
        });
      opening.join();
    }

    std::atomic<std::int64_t> right{0};
    weft::wait_group quick_ones, all;
    weft::scope conversations;
    for (int i = 0; i < count; ++i) quick_ones.add(manner_of(i) == manner::slow ? 0 : 1);
    all.add(count);
    for (int i = 0; i < count; ++i)
      conversations.go([&, i] {
        tcp_stream& s = streams[static_cast<std::size_t>(i)];
        right += static_cast<std::int64_t>(converse(s, i, quick_ones));
        if (manner_of(i) != manner::slow) quick_ones.done();
        all.done();
        if (!stays(i)) return;
        // As a client does who waits for news. Who leaves a byte unread does not look.
        char news = 0;
        if (i % 16 == 3)
          weft::chan<void>(nullptr).recv();
        else
          s.read_some(std::span(&news, 1));
        require(false, "the server stays silent");
      });
    all.wait();
    between.to_server.send(right);
    weft::blocking([&] { return between.to_client.next(); });
    weft::sleep_for(500ms);  // silence
    between.to_server.send(0);
    weft::blocking([&] { return between.to_client.next(); });
    raise(SIGKILL);
  });
  return 1;
}

void run_server(const line& between, pid_t client, int count) {
  int staying = 0;
  std::int64_t bytes = 0;
  for (int i = 0; i < count; ++i) {
    staying += stays(i);
    bytes += static_cast<std::int64_t>(text_of(i).size());
  }
  weft::run({.deadlock = weft::deadlock_policy::off}, [&] {
    std::deque<weft::net::tcp_listener> doors;
    weft::scope connections(weft::collect);
    weft::scope accepting;
    for (int l = 0; l < listeners; ++l) {
      doors.push_back(weft::net::listen("127.0.0." + std::to_string(l + 1) + ":0"));
      accepting.go([&connections, door = &doors.back()] { accept_all(*door, connections); });
    }
    const int sockets = open_sockets();
    const auto fibers = weft::num_fibers();
    for (const auto& door : doors) between.to_client.send(door.local_endpoint().port());

    const std::int64_t right = weft::blocking([&] { return between.to_server.next(); });
    require(right == bytes, "every byte of every connection came back");
    until([&] { return static_cast<int>(weft::num_fibers() - fibers) == staying; });
    require((looks > 0) != weft_test::sockets_by_io_uring(),
            "looks into the poller are counted, and io_uring needs none");
    require(echoes_begun == count, "every connection was accepted, once");
    require(open_sockets() == sockets + staying, "those who have gone hold no socket");

    between.to_client.send(0);
    const long looks_before = looks, switches_before = context_switches();
    const double cpu_before = cpu_milliseconds();
    weft::blocking([&] { return between.to_server.next(); });
    const long looked = looks - looks_before, switched = context_switches() - switches_before;
    std::printf(
        "%d connections, %d of them silent for 500 ms: %.1f ms of CPU, %ld looks into the poller, %ld switches\n",
        count, staying, cpu_milliseconds() - cpu_before, looked, switched);
    std::fflush(stdout);
    require(looked < 100, "nobody looks into the poller while all connections are silent");
    // With nobody in a poller main keeps its P while it blocks here, and the monitor may watch it, each 200 us at most.
    require(switched < (weft_test::sockets_by_io_uring() ? 3000 : 300), "no thread gets up while all are silent");

    between.to_client.send(0);
    int status = 0;
    weft::blocking([&] { require(waitpid(client, &status, 0) == client, "the client's end"); });
    require(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the client was killed");
    until([&] { return weft::num_fibers() == fibers; });
    require(open_sockets() == sockets, "all sockets are closed");
    for (auto& door : doors) door.close();
    accepting.join();
    connections.join();
    require(connections.error_count() == 0, "no fiber of a connection failed");
  });
}

TEST(many_connections, echo_everything_cost_nothing_while_silent_and_are_given_back) {
  const auto end = weft_test::in_child(
      [] {
        const int count = raise_descriptor_limit();
        if (count < fewest) {
          std::printf("room for %d connections, %d are the least\n", count, fewest);
          return 77;
        }
        line between;
        const pid_t client = start_client(between, [&] { return run_clients(between, count); });
        run_server(between, client, count);
        return 0;
      },
      patience);
  std::fputs(end.text.c_str(), stdout);
  if (end.exit_code == 77) GTEST_SKIP() << "the limit on descriptors is too low: " << end.text;
  EXPECT_EQ(end.exit_code, 0) << "signal " << end.signal;
}

// --- the limit ---

constexpr int callers = 100, room_for = 40;

int call_and_wait(const line& between) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(between.to_client.next()));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::vector<int> sockets;
  for (int i = 0; i < callers; ++i) {
    sockets.push_back(socket(AF_INET, SOCK_STREAM, 0));
    require(connect(sockets.back(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0, "the kernel takes callers in");
    const char number = static_cast<char>(i);
    require(send(sockets.back(), &number, 1, 0) == 1, "a byte is sent");
  }
  between.to_server.send(0);
  between.to_client.next();
  for (int i = 0; i < callers; ++i) {  // each who goes makes room for one more
    char number = 0;
    require(recv(sockets[static_cast<std::size_t>(i)], &number, 1, 0) == 1, "everybody is served in the end");
    require(number == static_cast<char>(i), "by his own echo");
    close(sockets[static_cast<std::size_t>(i)]);
  }
  return 0;
}

TEST(many_connections, beyond_the_limit_wait_until_others_go) {
  const auto end = weft_test::in_child(
      [] {
        line between;
        const pid_t client = start_client(between, [&] { return call_and_wait(between); });
        weft::run({.deadlock = weft::deadlock_policy::off}, [&] {
          auto door = weft::net::listen("127.0.0.1:0");
          weft::scope connections(weft::collect);
          weft::scope accepting;
          accepting.go([&] { accept_all(door, connections); });
          const int sockets = open_sockets();
          const auto fibers = weft::num_fibers();
          const int next = dup(STDIN_FILENO);
          close(next);
          const rlimit tight{static_cast<rlim_t>(next) + room_for, static_cast<rlim_t>(next) + room_for};
          require(setrlimit(RLIMIT_NOFILE, &tight) == 0, "the limit can be lowered");
          between.to_client.send(door.local_endpoint().port());
          weft::blocking([&] { return between.to_server.next(); });

          until([] { return refusals == noted; });  // with pauses of 5, 10, 20, 40 ms between them
          require(refused_at[noted - 1] - refused_at[0] >= 75ms, "it waits ever longer before it tries again");
          require(attempts_by_then[noted - 1] - attempts_by_then[0] == noted - 1, "and does nothing in between");
          require(echoes_begun < callers, "the limit was reached");

          between.to_client.send(0);
          int status = 0;
          weft::blocking([&] { require(waitpid(client, &status, 0) == client, "the client's end"); });
          require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the client got what it wanted");
          until([&] { return weft::num_fibers() == fibers; });
          require(echoes_begun == callers, "every caller was accepted, once");
          require(open_sockets() == sockets, "all sockets are closed");
          door.close();
          accepting.join();
        });
        return 0;
      },
      patience);
  EXPECT_EQ(end.exit_code, 0) << "signal " << end.signal << "\n" << end.text;
}

}  // namespace
