// SPDX-License-Identifier: Apache-2.0
//
// Descriptors that sockets of ours take over, and give back: what is refused is untouched, what is given back goes on,
// and what another owner makes of the open file holds up no deadline and no close.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::clock;
using weft::net::from_fd;
using weft::net::tcp_listener;
using weft::net::tcp_stream;
using weft::net::udp_socket;
using weft::net::unix_listener;
using weft::net::unix_stream;

/// A descriptor of the test's, blocking and not close-on-exec, until it is given up.
class raw {
 public:
  explicit raw(int fd) : fd_(fd) { EXPECT_GE(fd, 0); }
  raw(raw&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  raw& operator=(raw&&) = delete;
  ~raw() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }
  int give_up() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

raw bound_to_loopback(int type) {
  raw s(socket(AF_INET, type, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(s.fd(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  return s;
}

raw tcp_listening() {
  raw s = bound_to_loopback(SOCK_STREAM);
  EXPECT_EQ(listen(s.fd(), 8), 0);
  return s;
}

raw tcp_connected_to(int listener) {
  sockaddr_in at{};
  socklen_t length = sizeof at;
  EXPECT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&at), &length), 0);
  raw s(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(connect(s.fd(), reinterpret_cast<sockaddr*>(&at), length), 0);
  return s;
}

raw unix_listening() {
  raw s(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un any{};
  any.sun_family = AF_UNIX;
  EXPECT_EQ(bind(s.fd(), reinterpret_cast<sockaddr*>(&any), sizeof any.sun_family), 0);  // the kernel names it
  EXPECT_EQ(listen(s.fd(), 8), 0);
  return s;
}

std::pair<raw, raw> raw_pair(int type = SOCK_STREAM) {
  int ends[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, type, 0, ends), 0);
  return {raw(ends[0]), raw(ends[1])};
}

bool is_blocking(int fd) { return (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0; }
bool closes_on_exec(int fd) { return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0; }
int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  EXPECT_EQ(getsockopt(fd, level, name, &value, &length), 0);
  return value;
}

/// Another owner of the open file, who makes it blocking.
class other_owner {
 public:
  explicit other_owner(int fd) : mine_(fcntl(fd, F_DUPFD_CLOEXEC, 0)) {
    EXPECT_EQ(fcntl(mine_.fd(), F_SETFL, fcntl(mine_.fd(), F_GETFL) & ~O_NONBLOCK), 0);
  }

 private:
  raw mine_;
};

TEST(adopt, a_connection_carries_bytes_and_keeps_its_options) {
  weft::run([] {
    const raw listening = tcp_listening();
    raw theirs = tcp_connected_to(listening.fd());
    const int number = theirs.fd();
    tcp_stream ours(from_fd, theirs.give_up());
    ASSERT_TRUE(ours);
    EXPECT_EQ(ours.native_handle(), number);
    EXPECT_FALSE(is_blocking(number));
    EXPECT_TRUE(closes_on_exec(number));
    EXPECT_EQ(option(number, IPPROTO_TCP, TCP_NODELAY), 0);
    EXPECT_EQ(option(number, SOL_SOCKET, SO_KEEPALIVE), 0);
    tcp_stream peers(from_fd, accept(listening.fd(), nullptr, nullptr));
    EXPECT_EQ(peers.remote_endpoint(), ours.local_endpoint());
    EXPECT_EQ(ours.remote_endpoint(), peers.local_endpoint());
    auto reader = weft::spawn([&] { return read_text(peers, 4); });
    until_waiting(1);
    write_text(ours, "ping");
    EXPECT_EQ(reader.join(), "ping");
    const auto far = ours.remote_endpoint();
    ours.close();
    EXPECT_FALSE(is_open(number));
    EXPECT_EQ(ours.remote_endpoint(), far);
  });
}

TEST(adopt, what_came_before_is_there) {
  weft::run([] {
    auto [a, b] = raw_pair();
    ASSERT_EQ(write(b.fd(), "early", 5), 5);
    unix_stream ours(from_fd, a.give_up());
    EXPECT_EQ(read_text(ours, 5), "early");
  });
}

TEST(adopt, listeners_accept) {
  weft::run([] {
    raw listening = tcp_listening();
    const raw queued = tcp_connected_to(listening.fd());
    tcp_listener listener(from_fd, listening.give_up());
    EXPECT_TRUE(listener.accept().has_value());
    auto accepted = weft::spawn([&] { return *listener.accept(); });
    until_waiting(1);
    auto client = weft::net::connect(listener.local_endpoint());
    auto served = accepted.join();
    EXPECT_EQ(served.remote_endpoint(), client.local_endpoint());

    unix_listener local(from_fd, unix_listening().give_up());
    EXPECT_TRUE(local.path().starts_with('@')) << local.path();
    auto near = weft::net::connect_unix(local.path());
    auto far = *local.accept();
    write_text(near, "x");
    EXPECT_EQ(read_text(far, 1), "x");
  });
}

TEST(adopt, datagrams) {
  weft::run([] {
    udp_socket ours(from_fd, bound_to_loopback(SOCK_DGRAM).give_up());
    auto peers = udp_socket::bind("127.0.0.1:0");
    peers.send_to(std::string_view("hello"), ours.local_endpoint());
    std::array<char, 16> buffer;
    const auto got = ours.recv_from(buffer);
    EXPECT_EQ(std::string(buffer.data(), got.bytes), "hello");
    EXPECT_EQ(got.from, peers.local_endpoint());
  });
}

/// The code and the words with which `Socket` refuses the descriptor, which stays as it is.
template <class Socket>
void expect_refused(int number, std::errc code, const std::vector<std::string>& words) {
  const bool open = is_open(number), blocking = is_blocking(number), closes = closes_on_exec(number);
  std::error_code error;
  const Socket none(from_fd, number, error);
  EXPECT_EQ(error, code) << error.message();
  EXPECT_FALSE(none);
  const std::string said = message_of([&] { Socket(from_fd, number); });
  for (const std::string& each : words) EXPECT_NE(said.find(each), std::string::npos) << each << " in: " << said;
  EXPECT_NE(said.find(std::to_string(number)), std::string::npos) << said;
  EXPECT_EQ(is_open(number), open);
  EXPECT_EQ(is_blocking(number), blocking);
  EXPECT_EQ(closes_on_exec(number), closes);
}

TEST(adopt, another_kind_is_refused_and_stays_the_callers) {
  weft::run([] {
    constexpr auto another = std::errc::wrong_protocol_type;
    const raw listening = tcp_listening(), datagrams = bound_to_loopback(SOCK_DGRAM), local = unix_listening();
    const raw connected = tcp_connected_to(listening.fd());
    const auto streams = raw_pair(), messages = raw_pair(SOCK_SEQPACKET), letters = raw_pair(SOCK_DGRAM);
    expect_refused<tcp_stream>(listening.fd(), another, {"tcp_stream", "a TCP socket that listens", "expected"});
    expect_refused<tcp_stream>(datagrams.fd(), another, {"a UDP socket", "expected a connected TCP socket"});
    expect_refused<tcp_stream>(streams.first.fd(), another, {"a Unix-domain socket that does not listen"});
    expect_refused<tcp_listener>(connected.fd(), another, {"tcp_listener", "does not listen", "that listens"});
    expect_refused<tcp_listener>(local.fd(), another, {"a Unix-domain socket that listens"});
    expect_refused<udp_socket>(connected.fd(), another, {"udp_socket", "expected a UDP socket"});
    expect_refused<udp_socket>(letters.first.fd(), another, {"a Unix-domain datagram socket"});
    expect_refused<unix_stream>(messages.first.fd(), another, {"unix_stream", "messages"});
    expect_refused<unix_stream>(connected.fd(), another, {"expected a connected Unix-domain stream socket"});
    expect_refused<unix_stream>(local.fd(), another, {"a Unix-domain socket that listens"});
    expect_refused<unix_listener>(streams.first.fd(), another, {"unix_listener", "does not listen"});
    expect_refused<unix_listener>(listening.fd(), another, {"a TCP socket that listens"});
  });
}

TEST(adopt, what_is_no_socket_is_refused) {
  weft::run([] {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const raw out(ends[0]), in(ends[1]), null(open("/dev/null", O_RDWR)), file(open("/proc/self/exe", O_RDONLY)),
        events(eventfd(0, 0));
    expect_refused<tcp_stream>(out.fd(), std::errc::not_a_socket, {"it is a pipe", "expected a connected TCP socket"});
    expect_refused<tcp_listener>(file.fd(), std::errc::not_a_socket, {"a regular file"});
    expect_refused<udp_socket>(null.fd(), std::errc::not_a_socket, {"a character device"});
    expect_refused<unix_listener>(events.fd(), std::errc::not_a_socket, {"it is no socket"});
  });
}

TEST(adopt, a_number_that_is_not_open_is_named) {
  weft::run([] {
    const int closed = raw(fcntl(0, F_DUPFD, 900)).fd();  // where nobody opens another in between
    for (const int number : {closed, -1, 1'000'000}) {
      std::error_code error;
      const tcp_stream none(from_fd, number, error);
      EXPECT_EQ(error, std::errc::bad_file_descriptor);
      const std::string said = message_of([&] { unix_listener(from_fd, number); });
      EXPECT_NE(said.find(std::to_string(number) + "): it is not open"), std::string::npos) << said;
    }
  });
}

TEST(adopt, a_stream_without_a_peer_is_refused) {
  weft::run([] {
    const raw fresh(socket(AF_INET, SOCK_STREAM, 0)), local(socket(AF_UNIX, SOCK_STREAM, 0));
    expect_refused<tcp_stream>(fresh.fd(), std::errc::not_connected, {"no peer"});
    expect_refused<unix_stream>(local.fd(), std::errc::not_connected, {"no peer"});
  });
}

TEST(adopt, what_another_object_has_is_refused) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    const int number = ours.native_handle();
    expect_refused<tcp_stream>(number, std::errc::file_exists, {"another object", "dup"});
    write_text(peers, "x");
    EXPECT_EQ(read_text(ours, 1), "x");
  });
}

TEST(adopt, wants_a_runtime) {
  const raw listening = tcp_listening();
  EXPECT_THROW(tcp_listener(from_fd, listening.fd()), std::logic_error);
  EXPECT_TRUE(is_open(listening.fd()));
  EXPECT_TRUE(is_blocking(listening.fd()));
}

TEST(adopt, by_a_plain_thread) {
  weft::run([] {
    auto [a, b] = raw_pair();
    weft::chan<std::string> got(1);
    std::thread other([&, number = a.give_up()] {
      unix_stream ours(from_fd, number);
      got.send(read_text(ours, 1));
    });
    ASSERT_EQ(write(b.fd(), "t", 1), 1);
    EXPECT_EQ(got.recv(), "t");
    other.join();
  });
}

// --- giving back

/// `release` of an object in which `wait` waits: the wait fails, the number goes on, the object is as closed.
template <class Object, class Wait>
int expect_released(Object& object, Wait wait) {
  const int number = object.native_handle();
  auto waiter = weft::spawn([&] {
    std::error_code error;
    wait(object, error);
    return error;
  });
  until_waiting(1);
  EXPECT_EQ(object.release(), number);
  EXPECT_EQ(waiter.join(), std::errc::operation_canceled);
  EXPECT_TRUE(is_open(number));
  EXPECT_FALSE(is_blocking(number));
  EXPECT_EQ(object.native_handle(), -1);
  EXPECT_EQ(object.release(), -1);
  object.close();  // nothing is left to close
  std::error_code error;
  wait(object, error);
  EXPECT_EQ(error, std::errc::operation_canceled);
  object = Object();
  EXPECT_TRUE(is_open(number));
  return number;
}

TEST(release, of_streams) {
  weft::run([] {
    const auto read = [](auto& s, std::error_code& error) {
      char c = 0;
      s.read_some(std::span(&c, 1), error);
    };
    auto [ours, peers] = connected_pair();
    const tcp_stream again(from_fd, expect_released(ours, read));
    auto [a, b] = weft::net::pair();
    unix_stream local(from_fd, expect_released(a, read));
    write_text(b, "x");
    EXPECT_EQ(read_text(local, 1), "x");
  });
}

TEST(release, of_listeners) {
  weft::run([] {
    const auto accept = [](auto& l, std::error_code& error) { EXPECT_FALSE(l.accept(error).has_value()); };
    auto listener = weft::net::listen("127.0.0.1:0");
    const auto at = listener.local_endpoint();
    tcp_listener again(from_fd, expect_released(listener, accept));
    EXPECT_EQ(again.local_endpoint(), at);
    auto client = weft::net::connect(at);
    EXPECT_TRUE(again.accept().has_value());

    char directory[] = "/tmp/weft-adopt-XXXXXX";
    ASSERT_NE(mkdtemp(directory), nullptr);
    const std::string path = std::string(directory) + "/s";
    auto local = weft::net::listen_unix(path);
    {
      unix_listener local_again(from_fd, expect_released(local, accept));
      EXPECT_EQ(local_again.path(), path);
      auto near = weft::net::connect_unix(path);  // the file is still there
      EXPECT_TRUE(local_again.accept().has_value());
    }
    EXPECT_EQ(unlink(path.c_str()), 0);  // nor does the second one remove what it has not made
    EXPECT_EQ(rmdir(directory), 0);
  });
}

TEST(release, of_datagrams) {
  weft::run([] {
    auto socket = udp_socket::bind("127.0.0.1:0");
    const auto receive = [](udp_socket& s, std::error_code& error) {
      std::array<char, 8> buffer;
      s.recv_from(buffer, error);
    };
    const udp_socket again(from_fd, expect_released(socket, receive));
    EXPECT_TRUE(again);
  });
}

TEST(release, of_nothing) {
  weft::run([] {
    EXPECT_EQ(tcp_stream().release(), -1);
    EXPECT_EQ(unix_listener().release(), -1);
    auto listener = weft::net::listen("127.0.0.1:0");
    listener.close();
    EXPECT_EQ(listener.release(), -1);
  });
}

TEST(release, beside_closes_gives_the_number_to_one) {
  for (int round = 0; round < 200; ++round) {
    weft::run([] {
      auto [a, b] = weft::net::pair();
      weft::scope s;
      weft::chan<int> numbers(2);
      for (int i = 0; i < 2; ++i) s.go([&, &ours = a] { numbers.send(ours.release()); });
      s.go([&ours = a] { ours.close(); });
      s.join();
      const int first = numbers.recv().value(), second = numbers.recv().value();
      EXPECT_TRUE(first == -1 || second == -1);
      if (const int number = std::max(first, second); number >= 0) close(number);
    });
  }
}

// --- blocking again

/// `wait` on an object whose file another owner has made blocking ends by a deadline, and by a close.
template <class Object, class Wait>
void expect_bounded(Object& object, Wait wait) {
  const other_owner owner(object.native_handle());
  object.set_deadline(clock::now() + 2ms);
  std::error_code error;
  wait(object, error);
  EXPECT_EQ(error, std::errc::timed_out);
  object.set_deadline(clock::time_point::max());
  auto waiter = weft::spawn([&] {
    std::error_code closed;
    wait(object, closed);
    return closed;
  });
  until_waiting(1);
  object.close();
  EXPECT_EQ(waiter.join(), std::errc::operation_canceled);
}

TEST(blocking_again, reads) {
  weft::run([] {
    const auto read = [](auto& s, std::error_code& error) {
      char c = 0;
      s.read_some(std::span(&c, 1), error);
    };
    const auto peek = [](auto& s, std::error_code& error) {
      char c = 0;
      s.peek(std::span(&c, 1), error);
    };
    const auto readv = [](auto& s, std::error_code& error) {
      std::array<std::byte, 4> room;
      const std::array<std::span<std::byte>, 2> pieces{std::span(room).first(2), std::span(room).last(2)};
      s.readv(pieces, error);
    };
    const raw listening = tcp_listening();
    for (int i = 0; i < 3; ++i) {
      tcp_stream tcp(from_fd, tcp_connected_to(listening.fd()).give_up());
      auto [a, b] = raw_pair();
      unix_stream local(from_fd, a.give_up());
      if (i == 0) expect_bounded(tcp, read), expect_bounded(local, read);
      if (i == 1) expect_bounded(tcp, peek), expect_bounded(local, peek);
      if (i == 2) expect_bounded(tcp, readv), expect_bounded(local, readv);
    }
  });
}

TEST(blocking_again, descriptors_that_are_passed) {
  weft::run([] {
    auto [a, b] = raw_pair();
    unix_stream ours(from_fd, a.give_up());
    expect_bounded(ours, [](unix_stream& s, std::error_code& error) {
      std::array<char, 4> data;
      s.recv_fds(data, error);
    });
    auto [c, d] = raw_pair();
    unix_stream full(from_fd, c.give_up());
    fill(full);
    expect_bounded(full, [&, other = d.fd()](unix_stream& s, std::error_code& error) {
      s.send_fds(std::string(100'000, 'x'), std::array{other}, error);
    });
  });
}

TEST(blocking_again, writes) {
  weft::run([] {
    auto [a, b] = raw_pair();
    unix_stream ours(from_fd, a.give_up());
    fill(ours);
    expect_bounded(ours, [](unix_stream& s, std::error_code& error) { s.write_all(std::string(100'000, 'x'), error); });
  });
}

TEST(blocking_again, accepts_and_datagrams) {
  weft::run([] {
    const auto accept = [](auto& l, std::error_code& error) { EXPECT_FALSE(l.accept(error).has_value()); };
    tcp_listener tcp(from_fd, tcp_listening().give_up());
    expect_bounded(tcp, accept);
    unix_listener local(from_fd, unix_listening().give_up());
    expect_bounded(local, accept);
    udp_socket datagrams(from_fd, bound_to_loopback(SOCK_DGRAM).give_up());
    expect_bounded(datagrams, [](udp_socket& s, std::error_code& error) {
      std::array<char, 8> buffer;
      s.recv_from(buffer, error);
    });
  });
}

TEST(blocking_again, copies) {
  weft::run([] {
    auto [a, b] = raw_pair();
    unix_stream ours(from_fd, a.give_up());
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    weft::net::fd out(ends[0]), in(ends[1]);
    expect_bounded(ours, [&](unix_stream& s, std::error_code& error) {
      std::error_code of_the_pipe;
      weft::io::copy(s, in, error, of_the_pipe);
    });
  });
}

}  // namespace
