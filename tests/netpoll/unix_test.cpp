// SPDX-License-Identifier: Apache-2.0
//
// Unix-domain streams and listeners: they carry bytes as TCP does, and the socket file comes and goes with its
// listener, with nobody else's.

#include <gtest/gtest.h>

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

#include "tests/netpoll/loopback.hpp"

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
  {  // what a server that was killed leaves behind
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, stale.c_str(), stale.size());
    ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    close(fd);
  }
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

}  // namespace
