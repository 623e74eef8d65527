// SPDX-License-Identifier: Apache-2.0
//
// Unix-domain streams and listeners: they carry bytes as TCP does, and the socket file comes and goes with its
// listener, with nobody else's.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tests/netpoll/loopback.hpp"
#include "tests/support/descriptors.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;

/// A directory of the test's own.
class unix_ : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(mkdtemp(directory_), nullptr); }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string path(const char* name) const { return std::string(directory_) + '/' + name; }

 private:
  char directory_[32] = "/tmp/weft-unix-XXXXXX";
};

bool is_there(const std::string& path) {
  struct stat unused;
  return lstat(path.c_str(), &unused) == 0;
}

/// Binds a socket of `type` to the path.
int bound_to(const std::string& path, int type = SOCK_STREAM) {
  const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return fd;
}

/// What a server that was killed leaves there.
void leave_behind(const std::string& path) { close(bound_to(path)); }

mode_t mode_of(const std::string& path) {
  struct stat now {};
  EXPECT_EQ(lstat(path.c_str(), &now), 0);
  return now.st_mode & 07777;
}

/// The working directory, until the end of the block.
struct working_directory {
  explicit working_directory(const std::filesystem::path& next) { std::filesystem::current_path(next); }
  ~working_directory() { std::filesystem::current_path(before); }
  const std::filesystem::path before = std::filesystem::current_path();
};

struct unix_pair {
  weft::net::unix_stream ours, peers;
};

unix_pair pair_at(const std::string& path) {
  auto listener = weft::net::listen_unix(path);
  auto ours = weft::net::connect_unix(path);  // the kernel queues it
  return {std::move(ours), *listener.accept()};
}

TEST_F(unix_, carries_bytes_both_ways_and_half_closes) {
  weft::run([&] {
    auto [ours, peers] = pair_at(path("s"));
    write_text(ours, "ping");
    EXPECT_EQ(read_text(peers, 4), "ping");
    ours.shutdown_write();
    std::array<char, 4> rest;
    EXPECT_EQ(peers.read_some(rest), 0u);
    EXPECT_EQ(peers.read_some(rest), 0u);
    write_text(peers, "pong");
    EXPECT_EQ(read_text(ours, 4), "pong");
    std::error_code error;
    EXPECT_EQ(ours.write_some(std::string_view("x"), error), 0u);
    EXPECT_EQ(error, std::errc::broken_pipe);
  });
}

TEST_F(unix_, a_large_transfer_waits_on_both_sides) {
  weft::run([&] {
    auto [ours, peers] = pair_at(path("s"));
    const std::string sent(3'000'000, 'u');
    auto writer = weft::spawn([&, &from = ours] {
      from.write_all(std::span<const char>(sent));
      from.shutdown_write();
    });
    std::string got;
    std::array<char, 10'000> chunk;
    while (const std::size_t n = peers.read_some(chunk)) got.append(chunk.data(), n);
    writer.join();
    EXPECT_EQ(got, sent);
  });
}

TEST_F(unix_, the_file_goes_with_its_listener) {
  weft::run([&] {
    auto listener = weft::net::listen_unix(path("s"));
    EXPECT_EQ(listener.path(), path("s"));
    EXPECT_TRUE(is_there(path("s")));
    listener.close();
    EXPECT_FALSE(is_there(path("s")));
    listener.close();
    {
      auto moved_from = weft::net::listen_unix(path("s"));
      auto moved_to = std::move(moved_from);
      moved_from = {};
      EXPECT_TRUE(is_there(path("s")));
    }
    EXPECT_FALSE(is_there(path("s")));
  });
}

TEST_F(unix_, another_listeners_file_stays) {
  weft::run([&] {
    auto old = weft::net::listen_unix(path("s"));
    unlink(path("s").c_str());
    auto young = weft::net::listen_unix(path("s"));
    old.close();
    EXPECT_TRUE(is_there(path("s")));
    weft::net::connect_unix(path("s"));
  });
}

TEST_F(unix_, a_file_that_is_there_already_is_not_replaced) {
  const std::string stale = path("stale");
  leave_behind(stale);
  weft::run([&] {
    EXPECT_EQ(code_of([&] { weft::net::listen_unix(stale); }), std::errc::address_in_use);
    EXPECT_NE(message_of([&] { weft::net::listen_unix(stale); }).find("remove it first"), std::string::npos);
    EXPECT_TRUE(is_there(stale));
    EXPECT_EQ(code_of([&] { weft::net::connect_unix(stale); }), std::errc::connection_refused);
    EXPECT_EQ(code_of([&] { weft::net::connect_unix(path("none")); }), std::errc::no_such_file_or_directory);
  });
}

TEST_F(unix_, a_path_that_cannot_be_is_named) {
  weft::run([&] {
    const std::string longest(107, 'p'), longer(108, 'p');
    for (const auto& each : {longer, std::string("@") + longest})
      EXPECT_EQ(code_of([&] { weft::net::listen_unix(each); }), std::errc::filename_too_long);
    EXPECT_NE(message_of([&] { weft::net::connect_unix(longer); }).find("108 bytes"), std::string::npos);
    EXPECT_EQ(code_of([] { weft::net::listen_unix(""); }), std::errc::invalid_argument);
    EXPECT_EQ(code_of([] { weft::net::connect_unix(std::string_view("a\0b", 3)); }), std::errc::invalid_argument);
    std::error_code error;
    weft::net::connect_unix(longer, error);
    EXPECT_EQ(error, std::errc::filename_too_long);
    // The longest that can be: in the working directory.
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(path("").c_str());
    {
      auto listener = weft::net::listen_unix(longest);
      weft::net::connect_unix(longest);
    }
    EXPECT_FALSE(is_there(longest));
    std::filesystem::current_path(before);
  });
  EXPECT_THROW(weft::net::listen_unix(path("s")), std::logic_error);  // no runtime
}

TEST_F(unix_, an_abstract_name_has_no_file) {
  weft::run([&] {
    const std::string name = "@weft-test-" + std::to_string(getpid());
    {
      auto listener = weft::net::listen_unix(name);
      EXPECT_FALSE(is_there(name));
      EXPECT_EQ(code_of([&] { weft::net::listen_unix(name); }), std::errc::address_in_use);
      auto ours = weft::net::connect_unix(name);
      write_text(ours, "x");
      auto peers = *listener.accept();
      EXPECT_EQ(read_text(peers, 1), "x");
    }
    EXPECT_EQ(code_of([&] { weft::net::connect_unix(name); }), std::errc::connection_refused);
  });
}

TEST_F(unix_, connect_waits_while_the_queue_is_full) {
  weft::run([&] {
    auto listener = weft::net::listen_unix(path("s"));
    ASSERT_EQ(listen(listener.native_handle(), 0), 0);  // room for one
    auto first = weft::net::connect_unix(path("s"));
    auto second = weft::spawn([&] { return weft::net::connect_unix(path("s")); });
    EXPECT_THROW(weft::with_timeout(2ms, [&] { weft::net::connect_unix(path("s")); }), weft::timed_out);
    EXPECT_FALSE(second.done());
    auto one = *listener.accept();
    auto other = *listener.accept();
    auto late = second.join();
    write_text(late, "x");
    EXPECT_EQ(read_text(other, 1), "x");
  });
}

TEST_F(unix_, serves_plain_threads) {
  weft::run([&] {
    auto listener = weft::net::listen_unix(path("s"));
    ASSERT_EQ(listen(listener.native_handle(), 0), 0);
    auto in_the_queue = weft::net::connect_unix(path("s"));
    std::string got;
    std::thread caller([&] {
      auto stream = weft::net::connect_unix(path("s"));  // waits for room
      got = read_text(stream, 5);
    });
    until_waiting(1);
    auto first = *listener.accept(), second = *listener.accept();
    write_text(second, "hello");
    weft::blocking([&] { caller.join(); });
    EXPECT_EQ(got, "hello");
  });
}

TEST_F(unix_, accept_ends_with_close_and_has_its_deadline) {
  weft::run([&] {
    auto listener = weft::net::listen_unix(path("s"));
    listener.set_read_deadline(weft::clock::now() + 1ms);
    EXPECT_EQ(code_of([&] { listener.accept(); }), std::errc::timed_out);
    listener.set_read_deadline(weft::clock::time_point::max());
    auto acceptor = weft::spawn([&] { return listener.accept().has_value(); });
    until_waiting(1);
    listener.close();
    EXPECT_FALSE(acceptor.join());
    std::error_code error;
    EXPECT_FALSE(listener.accept(error));
    EXPECT_EQ(error, std::errc::operation_canceled);
  });
}

// Where descriptors were passed along the kernel ends a read early, with more bytes behind it: were a short read taken
// for an empty socket, the second one would wait for ever.
TEST_F(unix_, a_read_that_passed_descriptors_cut_short_is_followed_by_the_rest) {
  weft::run([&] {
    auto [ours, peers] = pair_at(path("s"));
    const auto send_with_descriptor = [fd = ours.native_handle()](char letter) {
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
      iovec one{&letter, 1};
      msghdr message{};
      message.msg_iov = &one;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* const header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      const int passed = 0;
      std::memcpy(CMSG_DATA(header), &passed, sizeof passed);
      return sendmsg(fd, &message, 0);
    };
    // All of it is there before the first read: no further edge will come.
    ASSERT_EQ(send_with_descriptor('a'), 1);
    ASSERT_EQ(send_with_descriptor('b'), 1);
    ASSERT_EQ(send_with_descriptor('c'), 1);
    std::string got;
    std::array<char, 64> buffer;
    while (got.size() < 3) got.append(buffer.data(), peers.read_some(buffer));
    EXPECT_EQ(got, "abc");
  });
}

TEST_F(unix_, a_relative_file_goes_with_its_listener_wherever_the_program_is_by_then) {
  const working_directory back(path("").c_str());
  weft::run([&] {
    {
      auto listener = weft::net::listen_unix("s");
      EXPECT_EQ(listener.path(), "s");
      std::filesystem::current_path("/");
      EXPECT_TRUE(is_there(path("s")));
    }
    EXPECT_FALSE(is_there(path("s")));
  });
}

TEST_F(unix_, the_file_has_the_mode_that_was_asked_for) {
  const mode_t before = umask(077);
  weft::run([&] {
    auto asked = weft::net::listen_unix(path("a"), {.mode = 0660});
    EXPECT_EQ(mode_of(path("a")), mode_t{0660});
    umask(0);
    auto narrow = weft::net::listen_unix(path("n"), {.mode = 0600});
    EXPECT_EQ(mode_of(path("n")), mode_t{0600});
    umask(022);
    auto not_asked = weft::net::listen_unix(path("s"));
    EXPECT_EQ(mode_of(path("s")), mode_t{0755});
    std::error_code error;
    EXPECT_FALSE(weft::net::listen_unix("@weft-mode-" + std::to_string(getpid()), {.mode = 0600}, error));
    EXPECT_EQ(error, std::errc::invalid_argument);
    EXPECT_FALSE(weft::net::listen_unix(path("m"), {.mode = 010000}, error));
    EXPECT_EQ(error, std::errc::invalid_argument);
    EXPECT_FALSE(is_there(path("m")));
  });
  umask(before);
}

TEST_F(unix_, a_dead_file_is_replaced_where_that_is_asked_for) {
  leave_behind(path("s"));
  weft::run([&] {
    std::error_code error;
    EXPECT_FALSE(weft::net::listen_unix(path("s"), error));
    EXPECT_EQ(error, std::errc::address_in_use);
    {
      auto listener = weft::net::listen_unix(path("s"), {.mode = 0600, .replace_stale = true});
      EXPECT_EQ(mode_of(path("s")), mode_t{0600});
      auto ours = weft::net::connect_unix(path("s"));
      EXPECT_TRUE(listener.accept());
    }
    EXPECT_FALSE(is_there(path("s")));
    EXPECT_TRUE(weft::net::listen_unix(path("s"), {.replace_stale = true}, error)) << error.message();  // none there
  });
}

TEST_F(unix_, what_is_no_dead_socket_is_never_replaced) {
  std::filesystem::create_symlink(path("none"), path("link"));
  std::fclose(std::fopen(path("file").c_str(), "w"));
  leave_behind(path("dead"));
  std::filesystem::create_symlink(path("dead"), path("link-to-dead"));
  const int datagrams = bound_to(path("datagrams"), SOCK_DGRAM);
  weft::run([&] {
    auto listener = weft::net::listen_unix(path("live"));
    auto full = weft::net::listen_unix(path("full"));
    ASSERT_EQ(listen(full.native_handle(), 0), 0);
    auto in_the_queue = weft::net::connect_unix(path("full"));
    for (const char* each : {"live", "full", "file", "link", "link-to-dead", "datagrams"}) {
      std::error_code error;
      EXPECT_FALSE(weft::net::listen_unix(path(each), {.replace_stale = true}, error)) << each;
      EXPECT_EQ(error, std::errc::address_in_use) << each;
      EXPECT_TRUE(is_there(path(each)));
    }
    EXPECT_NE(message_of([&] { weft::net::listen_unix(path("live"), {.replace_stale = true}); }).find("listens there"),
              std::string::npos);
    weft::net::connect_unix(path("live"));
  });
  close(datagrams);
}

// The second would otherwise remove the file of the first, which nobody could reach from then on.
TEST_F(unix_, of_several_that_replace_at_once_one_gets_the_path) {
  weft::run([&] {
    for (int round = 0; round < 20; ++round) {
      leave_behind(path("s"));
      std::array<weft::net::unix_listener, 4> listeners;
      std::array<std::error_code, 4> errors;
      weft::scope s;
      for (std::size_t i = 0; i < listeners.size(); ++i)
        s.go([&, i] { listeners[i] = weft::net::listen_unix(path("s"), {.replace_stale = true}, errors[i]); });
      s.join();
      std::size_t winner = listeners.size();
      for (std::size_t i = 0; i < listeners.size(); ++i) {
        if (!listeners[i]) {
          EXPECT_EQ(errors[i], std::errc::address_in_use);
        } else {
          EXPECT_EQ(winner, listeners.size()) << "two listen";
          winner = i;
        }
      }
      ASSERT_LT(winner, listeners.size());
      weft::net::connect_unix(path("s"));
      listeners[winner].close();
    }
  });
}

TEST_F(unix_, names_without_a_name_are_refused_and_every_byte_of_one_counts) {
  weft::run([] {
    std::error_code error;
    EXPECT_FALSE(weft::net::listen_unix("@", error));
    EXPECT_EQ(error, std::errc::invalid_argument);
    EXPECT_FALSE(weft::net::connect_unix("@", error));
    EXPECT_EQ(error, std::errc::invalid_argument);
    const std::string head = "@weft-zero-" + std::to_string(getpid());
    const std::string one = head + std::string("\0a", 2), other = head + std::string("\0b", 2);
    auto listener = weft::net::listen_unix(one);
    EXPECT_EQ(listener.path(), one);
    EXPECT_TRUE(weft::net::connect_unix(one, error)) << error.message();
    for (const std::string& nobodys : {head, other, one + '\0'}) {
      weft::net::connect_unix(nobodys, error);
      EXPECT_EQ(error, std::errc::connection_refused);
    }
  });
}

TEST_F(unix_, tells_who_the_peer_is) {
  weft::run([&] {
    auto [ours, peers] = pair_at(path("s"));
    for (const auto* each : {&ours, &peers}) {
      const auto who = each->peer();
      EXPECT_EQ(who.pid, getpid());
      EXPECT_EQ(who.uid, geteuid());
      EXPECT_EQ(who.gid, getegid());
    }
    ours.close();
    std::error_code error;
    static_cast<void>(ours.peer(error));
    EXPECT_EQ(error, std::errc::operation_canceled);
    EXPECT_EQ(code_of([] { static_cast<void>(weft::net::unix_stream().peer()); }), std::errc::bad_file_descriptor);
  });
}

TEST_F(unix_, a_pair_is_connected) {
  EXPECT_THROW(static_cast<void>(weft::net::pair()), std::logic_error);  // no runtime
  weft::run([] {
    auto [a, b] = weft::net::pair();
    auto reader = weft::spawn([&b = b] { return read_text(b, 4); });
    until_waiting(1);
    write_text(a, "ping");
    EXPECT_EQ(reader.join(), "ping");
    a.close();
    std::array<char, 1> rest;
    EXPECT_EQ(b.read_some(rest), 0u);
    std::error_code error = std::make_error_code(std::errc::io_error);
    EXPECT_TRUE(weft::net::pair(error).second);
    EXPECT_FALSE(error);
  });
}

/// A pipe, of which one end is passed.
struct pipe_ends {
  pipe_ends() { EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0); }
  ~pipe_ends() {
    for (const int each : ends) close(each);
  }
  int ends[2];
};

TEST_F(unix_, descriptors_pass_with_the_data_that_they_were_sent_with) {
  weft::run([] {
    auto [a, b] = weft::net::pair();
    const pipe_ends one, two;
    EXPECT_EQ(a.send_fds(std::string_view("first"), std::array{one.ends[1], two.ends[1]}), 5u);
    EXPECT_EQ(a.send_fds(std::string_view("none"), {}), 4u);
    write_text(a, "plain");
    std::array<char, 64> buffer;
    auto [bytes, fds] = b.recv_fds(buffer);
    EXPECT_EQ(std::string(buffer.data(), bytes), "first");
    ASSERT_EQ(fds.size(), 2u);
    for (auto& each : fds) EXPECT_NE(fcntl(each.native_handle(), F_GETFD) & FD_CLOEXEC, 0);
    write_text(fds[0], "1");
    write_text(fds[1], "2");
    char got[2];
    EXPECT_EQ(read(one.ends[0], &got[0], 1), 1);
    EXPECT_EQ(read(two.ends[0], &got[1], 1), 1);
    EXPECT_EQ(std::string(got, 2), "12");
    std::error_code error = std::make_error_code(std::errc::io_error);
    std::string rest(9, '\0');
    std::size_t n = 0;
    while (n < rest.size()) {
      const auto more = b.recv_fds(std::span(rest).subspan(n), error);
      EXPECT_TRUE(more.fds.empty());
      ASSERT_FALSE(error);
      n += more.bytes;
    }
    EXPECT_EQ(rest, "noneplain");
    a.close();
    EXPECT_EQ(b.recv_fds(buffer).bytes, 0u);
  });
}

TEST_F(unix_, descriptors_are_waited_for) {
  weft::run([] {
    auto [a, b] = weft::net::pair();
    const pipe_ends one;
    auto receiver = weft::spawn([&b = b] {
      std::array<std::byte, 1> buffer;
      return b.recv_fds(buffer).fds.size();
    });
    until_waiting(1);
    a.send_fds(std::array{std::byte{1}}, std::array{one.ends[0]});
    EXPECT_EQ(receiver.join(), 1u);
    std::array<std::byte, 1> buffer;
    b.set_read_deadline(weft::clock::now() + 1ms);
    EXPECT_EQ(code_of([&b = b, &buffer] { b.recv_fds(buffer); }), std::errc::timed_out);
  });
}

TEST_F(unix_, a_long_message_goes_whole_behind_its_descriptors) {
  weft::run([] {
    auto [a, b] = weft::net::pair();
    const pipe_ends one;
    const std::string sent(3'000'000, 'd');
    auto sender = weft::spawn([&, &from = a] {
      EXPECT_EQ(from.send_fds(sent, std::array{one.ends[0]}), sent.size());
      from.shutdown_write();
    });
    std::vector<char> chunk(100'000);
    std::size_t got = 0, passed = 0;
    for (;;) {
      const auto some = b.recv_fds(chunk);
      if (some.bytes == 0) break;
      got += some.bytes;
      passed += some.fds.size();
    }
    sender.join();
    EXPECT_EQ(got, sent.size());
    EXPECT_EQ(passed, 1u);
  });
}

TEST_F(unix_, a_regular_file_passes_as_any_descriptor) {
  weft::run([] {
    auto [a, b] = weft::net::pair();
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ASSERT_GE(file, 0);
    a.send_fds(std::string_view("x"), std::array{file});
    close(file);
    std::array<char, 4> buffer;
    auto received = b.recv_fds(buffer);
    ASSERT_EQ(received.fds.size(), 1u);
    EXPECT_EQ(read_text(received.fds[0], 4),
              "\x7f"
              "ELF");
  });
}

TEST_F(unix_, descriptors_that_cannot_pass_are_an_error_and_none_is_left) {
  weft::run([] {
    auto [a, b] = weft::net::pair();
    const pipe_ends one;
    std::error_code error;
    EXPECT_EQ(a.send_fds(std::string_view(), std::array{one.ends[0]}, error), 0u);
    EXPECT_EQ(error, std::errc::invalid_argument);
    a.send_fds(std::string_view("x"), std::vector<int>(weft::net::unix_stream::most_fds + 1, one.ends[0]), error);
    EXPECT_EQ(error, std::errc::invalid_argument);
    a.send_fds(std::string_view("x"), std::array{-1}, error);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
    EXPECT_NE(message_of([&a = a] { a.send_fds(std::string_view(), {}); }).find("at most 253"), std::string::npos);
    std::array<char, 8> buffer;
    b.recv_fds(std::span<char>(), error);
    EXPECT_EQ(error, std::errc::invalid_argument);

    const auto before = open_descriptors();
    const std::vector<int> many(weft::net::unix_stream::most_fds, one.ends[0]);
    a.send_fds(std::string_view("x"), many);
    EXPECT_EQ(b.recv_fds(buffer).fds.size(), many.size());
    EXPECT_EQ(open_descriptors(), before);

    a.send_fds(std::string_view("x"), many);  // more than there is room for
    rlimit limit;
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const rlimit narrow{before.size() + 60, limit.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &narrow), 0);
    EXPECT_TRUE(b.recv_fds(buffer, error).fds.empty());
    EXPECT_EQ(error, std::errc::too_many_files_open);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    EXPECT_EQ(open_descriptors(), before);
  });
}

}  // namespace
