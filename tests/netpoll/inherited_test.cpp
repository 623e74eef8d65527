// SPDX-License-Identifier: Apache-2.0
//
// Listeners that the service manager has passed. Each test is a process of its own: the numbers begin at 3, and the
// variables are read once.

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <system_error>
#include <vector>

#include "tests/netpoll/loopback.hpp"
#include "tests/support/child.hpp"
#include "tests/support/sanitizers.hpp"

namespace {

using namespace weft_test;

int tcp_listening() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  require(bind(fd, reinterpret_cast<sockaddr*>(&any), sizeof any) == 0 && listen(fd, 8) == 0, "it listens");
  return fd;
}

int unix_listening() {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un any{};
  any.sun_family = AF_UNIX;
  require(bind(fd, reinterpret_cast<sockaddr*>(&any), sizeof any.sun_family) == 0 && listen(fd, 8) == 0, "it listens");
  return fd;
}

void say(const std::string& pid, const std::string& count) {
  setenv("LISTEN_PID", pid.c_str(), 1);
  setenv("LISTEN_FDS", count.c_str(), 1);
  setenv("LISTEN_FDNAMES", "a:b", 1);
}

/// As a service manager does it: the descriptors from 3 on, and the variables.
void pass(std::vector<int> descriptors) {
  for (int& each : descriptors) {  // out of the way of the numbers first
    const int far = fcntl(each, F_DUPFD, 100);
    close(each);
    each = far;
  }
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    require(dup2(descriptors[i], 3 + static_cast<int>(i)) >= 0, "it has its number");
    close(descriptors[i]);
  }
  say(std::to_string(getpid()), std::to_string(descriptors.size()));
}

bool is_said() {
  return getenv("LISTEN_PID") != nullptr || getenv("LISTEN_FDS") != nullptr || getenv("LISTEN_FDNAMES");
}

#define EXPECT_WELL(...)                                                        \
  do {                                                                          \
    const child_end end = in_child(__VA_ARGS__);                                \
    EXPECT_EQ(end.exit_code, 0) << "signal " << end.signal << '\n' << end.text; \
  } while (false)

TEST(inherited, each_call_gives_those_of_its_kind_once) {
  EXPECT_WELL([] {
    pass({tcp_listening(), unix_listening(), socket(AF_INET, SOCK_DGRAM, 0), tcp_listening()});
    weft::run([] {
      auto tcp = weft::net::inherited_listeners();
      require(tcp.size() == 2, "two of TCP");
      require(!is_said(), "the variables are gone");
      for (int fd = 3; fd < 7; ++fd) require((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0, "close-on-exec");
      require(tcp[0].native_handle() == 3 && tcp[1].native_handle() == 6, "in their order");
      require(weft::net::inherited_listeners().empty(), "a second call gives none");
      auto local = weft::net::inherited_unix_listeners();
      require(local.size() == 1 && local[0].native_handle() == 4, "one Unix-domain");
      require(weft::net::inherited_unix_listeners().empty(), "a second call gives none");
      weft::net::udp_socket datagrams(weft::net::from_fd, 5);
      require(static_cast<bool>(datagrams), "what is neither is to be had by its number");

      auto client = weft::net::connect(tcp[1].local_endpoint());
      auto served = *tcp[1].accept();
      write_text(client, "x");
      require(read_text(served, 1) == "x", "it serves");
      auto near = weft::net::connect_unix(local[0].path());
      auto far = *local[0].accept();
      write_text(near, "y");
      require(read_text(far, 1) == "y", "it serves");
    });
    return 0;
  });
}

TEST(inherited, what_the_first_call_leaves_outlives_its_run) {
  EXPECT_WELL([] {
    pass({tcp_listening(), unix_listening()});
    weft::run([] { require(weft::net::inherited_unix_listeners().size() == 1, "of the one kind"); });
    weft::run([] { require(weft::net::inherited_listeners().size() == 1, "of the other"); });
    return 0;
  });
}

TEST(inherited, none_without_variables_or_for_another_process) {
  EXPECT_WELL([] {
    weft::run([] {
      require(weft::net::inherited_listeners().empty(), "nothing was passed");
      say(std::to_string(getppid()), "1");
      require(weft::net::inherited_listeners().empty(), "passed to another");
      say(std::to_string(getppid()), "many");
      require(weft::net::inherited_listeners().empty(), "another's to understand");
      require(is_said(), "they are left to it");
      say(std::to_string(getpid()), "0");
      require(weft::net::inherited_unix_listeners().empty() && !is_said(), "none at all");
    });
    return 0;
  });
}

TEST(inherited, variables_that_are_no_numbers_are_named) {
  EXPECT_WELL([] {
    weft::run([] {
      const std::string me = std::to_string(getpid());
      const std::array<std::array<std::string, 3>, 9> cases{{{"abc", "1", "LISTEN_PID is \"abc\""},
                                                             {"", "1", "LISTEN_PID is \"\""},
                                                             {me + " ", "1", "LISTEN_PID is \"" + me + " \""},
                                                             {"99999999999999999999", "1", "LISTEN_PID is"},
                                                             {me, "one", "LISTEN_FDS is \"one\""},
                                                             {me, "", "LISTEN_FDS is \"\""},
                                                             {me, "-1", "LISTEN_FDS is \"-1\""},
                                                             {me, "+1", "LISTEN_FDS is \"+1\""},
                                                             {me, "2147483647", "LISTEN_FDS is \"2147483647\""}}};
      for (const auto& [pid, count, words] : cases) {
        say(pid, count);
        std::error_code error;
        require(weft::net::inherited_listeners(error).empty() && error == std::errc::invalid_argument, pid.c_str());
        const std::string said = message_of([] { static_cast<void>(weft::net::inherited_unix_listeners()); });
        require(said.find(words) != std::string::npos, said.c_str());
        require(is_said(), "nothing has changed");
      }
    });
    return 0;
  });
}

TEST(inherited, a_number_that_is_not_open_changes_nothing) {
  if (weft_test::has_thread_sanitizer) GTEST_SKIP() << "the number may be another thread's for a moment, as it sees it";
  EXPECT_WELL([] {
    pass({tcp_listening()});
    setenv("LISTEN_FDS", "2000000000", 1);
    weft::run([] {
      const std::string said = message_of([] { static_cast<void>(weft::net::inherited_listeners()); });
      require(said.find("LISTEN_FDS is 2000000000, and descriptor ") != std::string::npos, said.c_str());
      std::error_code error;
      static_cast<void>(weft::net::inherited_listeners(error));
      require(error == std::errc::bad_file_descriptor, "the code says so, too");
      require((fcntl(3, F_GETFD) & FD_CLOEXEC) == 0, "the first is as it was");
      setenv("LISTEN_FDS", "1", 1);
      require(weft::net::inherited_listeners(error).size() == 1 && !error, "and is to be had");
    });
    return 0;
  });
}

TEST(inherited, all_of_them_or_none) {
  EXPECT_WELL([] {
    pass({tcp_listening(), tcp_listening()});
    weft::run([] {
      weft::net::tcp_listener mine(weft::net::from_fd, 4);  // one that is not for the call to take
      std::error_code error;
      require(weft::net::inherited_listeners(error).empty() && error == std::errc::file_exists, "it says so");
      require(mine.release() == 4 && is_open(3), "nobody has closed anything");
      require(weft::net::inherited_listeners(error).size() == 2 && !error, "the next call has both");
    });
    return 0;
  });
}

TEST(inherited, wants_a_runtime) {
  EXPECT_THROW(static_cast<void>(weft::net::inherited_listeners()), std::logic_error);
}

}  // namespace
