// SPDX-License-Identifier: Apache-2.0
//
// Descriptors that the program brings: pipes, terminals, pidfds. What is no pollable file is refused, SIGPIPE is never
// seen, and what was lent comes back as it was.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <system_error>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::fd;

struct pipe_ends {
  pipe_ends() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    out = fd(ends[0]);
    in = fd(ends[1]);
  }
  fd out, in;  // what is written to `in` comes out of `out`
};

bool blocks(int number) { return (fcntl(number, F_GETFL) & O_NONBLOCK) == 0; }

TEST(fd, carries_bytes_through_a_pipe_to_its_end) {
  weft::run([] {
    pipe_ends p;
    const std::string sent(1'000'000, 'p');  // more than a pipe holds
    auto writer = weft::spawn([&] {
      p.in.write_all(std::span<const char>(sent));
      p.in.close();
    });
    std::string got;
    std::array<char, 5000> chunk;
    while (const std::size_t n = p.out.read_some(chunk)) got.append(chunk.data(), n);
    writer.join();
    EXPECT_EQ(got, sent);
  });
}

TEST(fd, writes_several_pieces_and_reads_exactly) {
  weft::run([] {
    pipe_ends p;
    const std::string a = "one ", b = "two";
    const std::array<std::span<const std::byte>, 2> pieces{std::as_bytes(std::span(a)), std::as_bytes(std::span(b))};
    EXPECT_EQ(p.in.writev(pieces), 7u);
    EXPECT_EQ(read_text(p.out, 7), "one two");
    write_text(p.in, "x");
    p.in.close();
    std::array<char, 2> two;
    EXPECT_EQ(code_of([&] { p.out.read_exactly(two); }), std::errc::connection_aborted);
  });
}

std::atomic<int> sigpipes{0};

TEST(fd, a_pipe_without_reader_is_an_error_and_no_signal) {
  struct sigaction counting {
  }, before{};
  counting.sa_handler = [](int) { ++sigpipes; };
  sigaction(SIGPIPE, &counting, &before);
  weft::run([] {
    pipe_ends p;
    p.out.close();
    EXPECT_EQ(code_of([&] { p.in.write_some(std::string_view("x")); }), std::errc::broken_pipe);
    const std::array<std::span<const std::byte>, 1> piece{std::as_bytes(std::span("x"))};
    EXPECT_EQ(code_of([&] { p.in.writev(piece); }), std::errc::broken_pipe);
    sigset_t pending;
    sigpending(&pending);
    EXPECT_FALSE(sigismember(&pending, SIGPIPE));
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    EXPECT_FALSE(sigismember(&mask, SIGPIPE));  // the thread is as it was
  });
  EXPECT_EQ(sigpipes, 0);
  sigaction(SIGPIPE, &before, nullptr);
}

TEST(fd, a_parked_writer_hears_that_the_reader_has_gone) {
  weft::run([] {
    pipe_ends p;
    fill(p.in);
    auto writer = weft::spawn([&] { return code_of([&] { p.in.write_all(std::string(100'000, 'x')); }); });
    until_waiting(1);
    p.out.close();
    EXPECT_EQ(writer.join(), std::errc::broken_pipe);
  });
}

TEST(fd, a_sigpipe_that_was_pending_before_stays_so) {
  weft::run([] {  // nothing in here parks: it stays on its thread
    pipe_ends p;
    p.out.close();
    sigset_t only, mask, pending;
    sigemptyset(&only);
    sigaddset(&only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &only, &mask);
    pthread_kill(pthread_self(), SIGPIPE);
    std::error_code error;
    p.in.write_some(std::string_view("x"), error);
    EXPECT_EQ(error, std::errc::broken_pipe);
    sigpending(&pending);
    EXPECT_TRUE(sigismember(&pending, SIGPIPE));
    const timespec at_once{};
    EXPECT_EQ(sigtimedwait(&only, nullptr, &at_once), SIGPIPE);
    pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  });
}

TEST(fd, waits_for_readiness_as_it_is_and_not_only_for_its_change) {
  weft::run([] {
    pipe_ends p;
    p.in.wait_writable();
    p.in.wait_writable();
    auto reader = weft::spawn([&] { p.out.wait_readable(); });
    until_waiting(1);
    write_text(p.in, "ab");
    reader.join();
    p.out.wait_readable();  // nobody has read: still so
    EXPECT_EQ(read_text(p.out, 1), "a");
    p.out.wait_readable();  // the rest; no new edge comes
    EXPECT_EQ(read_text(p.out, 1), "b");
    p.out.set_read_deadline(weft::clock::now() + 1ms);
    EXPECT_EQ(code_of([&] { p.out.wait_readable(); }), std::errc::timed_out);
    p.out.set_read_deadline(weft::clock::time_point::max());
    p.in.close();
    p.out.wait_readable();  // the end counts, too
  });
}

TEST(fd, waits_for_a_child_process) {
  weft::run([] {
    const pid_t child = fork();
    if (child == 0) {
      execl("/bin/sleep", "sleep", "1000", nullptr);
      _exit(127);
    }
    fd process(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
    auto waiter = weft::spawn([&] {
      process.wait_readable();
      siginfo_t how{};
      EXPECT_EQ(waitid(P_PID, static_cast<id_t>(child), &how, WEXITED | WNOHANG), 0);
      return how;
    });
    until_waiting(1);
    kill(child, SIGKILL);
    const siginfo_t how = waiter.join();
    EXPECT_EQ(how.si_pid, child);
    EXPECT_EQ(how.si_status, SIGKILL);
  });
}

TEST(fd, takes_a_terminal) {
  weft::run([] {
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) GTEST_SKIP() << "no terminals here";
    const int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    ASSERT_GE(slave, 0);
    fd keyboard(master), terminal(slave);
    auto reader = weft::spawn([&] { return read_text(terminal, 3); });
    until_waiting(1);
    write_text(keyboard, "hi\n");
    EXPECT_EQ(reader.join(), "hi\n");
  });
}

TEST(fd, takes_a_drivers_socket_and_gives_it_back) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  weft::run([&] {
    fd drivers(ends[0]);
    fd peer(ends[1]);
    EXPECT_FALSE(blocks(ends[0]));
    auto reader = weft::spawn([&] {
      drivers.wait_readable();
      return drivers.release();
    });
    until_waiting(1);
    write_text(peer, "row");
    EXPECT_EQ(reader.join(), ends[0]);
    EXPECT_TRUE(blocks(ends[0]));  // as it came
    std::array<char, 3> row;
    EXPECT_EQ(recv(ends[0], row.data(), row.size(), 0), 3);
    EXPECT_EQ(drivers.release(), -1);
    EXPECT_EQ(drivers.native_handle(), -1);
    EXPECT_EQ(code_of([&] { drivers.wait_readable(); }), std::errc::operation_canceled);
    drivers.close();
    EXPECT_TRUE(is_open(ends[0]));
    fd again(ends[0]);  // it is nobody's by now
    again.close();
    EXPECT_FALSE(is_open(ends[0]));
    peer.set_write_deadline(weft::clock::now() + 10s);
    EXPECT_EQ(code_of([&] { peer.write_some(std::string_view("x")); }), std::errc::broken_pipe);
  });
}

TEST(fd, release_wakes_who_waits) {
  weft::run([] {
    pipe_ends p;
    auto reader = weft::spawn([&] { return code_of([&] { p.out.wait_readable(); }); });
    until_waiting(1);
    const int number = p.out.release();
    EXPECT_EQ(reader.join(), std::errc::operation_canceled);
    EXPECT_TRUE(is_open(number));
    close(number);
  });
}

TEST(fd, a_descriptor_that_was_non_blocking_before_stays_so) {
  const int number = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  weft::run([&] {
    fd events(number);
    EXPECT_EQ(events.release(), number);
  });
  EXPECT_FALSE(blocks(number));
  close(number);
}

/// What others share with us, and make blocking: deadlines, close and cancellation hold all the same, with nothing to
/// read and with no room to write. On one P: a fiber that blocked its thread would be noticed.
template <class Make>
void expect_no_blocking(Make make) {
  weft::run({.maxprocs = 1}, [&] {
    fd reader, writer;
    make(reader, writer);
    for (fd* each : {&reader, &writer}) {
      const int number = each->native_handle();
      fcntl(number, F_SETFL, fcntl(number, F_GETFL) & ~O_NONBLOCK);
      ASSERT_TRUE(blocks(number));
    }
    std::array<char, 16> room;
    reader.set_read_deadline(weft::clock::now() + 1ms);
    EXPECT_EQ(code_of([&] { reader.read_some(room); }), std::errc::timed_out);
    reader.set_read_deadline(weft::clock::time_point::max());
    EXPECT_THROW(weft::with_timeout(1ms, [&] { reader.read_some(room); }), weft::timed_out);
    writer.write_all(std::string_view("it still goes\n"));
    EXPECT_EQ(read_text(reader, 14), "it still goes\n");
    const std::string line(997, 'x');
    writer.set_write_deadline(weft::clock::now() + 300ms);
    for (std::error_code error; !error;) writer.write_all(line + '\n', error);
    writer.set_write_deadline(weft::clock::time_point::max());
    auto stuck = weft::spawn([&] {
      std::error_code error;
      while (!error) writer.write_all(line + '\n', error);  // a terminal may make room by itself
      return error;
    });
    until_waiting(1);
    writer.close();
    EXPECT_EQ(stuck.join(), std::errc::operation_canceled);
    auto waiter = weft::spawn([&] {
      std::error_code error;
      while (!error && reader.read_some(room, error) != 0) {
      }
      return error;
    });
    weft::yield();
    reader.close();
    const std::error_code error = waiter.join();
    EXPECT_TRUE(!error || error == std::errc::operation_canceled || error == std::errc::io_error) << error.message();
  });
}

TEST(fd, a_pipe_that_others_made_blocking_blocks_no_thread) {
  expect_no_blocking([](fd& reader, fd& writer) {
    pipe_ends p;
    reader = std::move(p.out);
    writer = std::move(p.in);
  });
}

TEST(fd, a_fifo_that_others_made_blocking_blocks_no_thread) {
  expect_no_blocking([](fd& reader, fd& writer) {
    const std::string path = "/tmp/weft-fifo-" + std::to_string(getpid());
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    reader = fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    writer = fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    unlink(path.c_str());
  });
}

TEST(fd, a_socket_that_others_made_blocking_blocks_no_thread) {
  expect_no_blocking([](fd& reader, fd& writer) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    reader = fd(ends[0]);
    writer = fd(ends[1]);
  });
}

TEST(fd, a_terminal_that_others_made_blocking_blocks_no_thread) {
  expect_no_blocking([](fd& reader, fd& writer) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ASSERT_TRUE(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    const int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    ASSERT_GE(slave, 0);
    termios raw{};
    ASSERT_EQ(tcgetattr(slave, &raw), 0);
    cfmakeraw(&raw);
    ASSERT_EQ(tcsetattr(slave, TCSANOW, &raw), 0);
    reader = fd(master);
    writer = fd(slave);
  });
}

TEST(fd, refuses_what_cannot_be_polled_and_leaves_it_to_the_caller) {
  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  EXPECT_THROW(fd unused(file), std::logic_error);  // no runtime
  weft::run([&] {
    EXPECT_EQ(code_of([&] { fd unused(file); }), std::errc::operation_not_permitted);
    EXPECT_NE(message_of([&] { fd unused(file); }).find("weft::file is for regular files"), std::string::npos);
    EXPECT_TRUE(is_open(file));
    EXPECT_TRUE(blocks(file));
    std::error_code error;
    fd none(-1, error);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
    EXPECT_FALSE(none);
    pipe_ends p;
    EXPECT_EQ(code_of([&] { fd second(p.in.native_handle()); }), std::errc::file_exists);
    write_text(p.in, "x");  // and the first one still works
    EXPECT_EQ(read_text(p.out, 1), "x");
    EXPECT_EQ(code_of([&] { none.wait_writable(); }), std::errc::bad_file_descriptor);
    EXPECT_EQ(none.release(), -1);
  });
  close(file);
}

}  // namespace
