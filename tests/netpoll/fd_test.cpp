// SPDX-License-Identifier: Apache-2.0
//
// Descriptors that the program brings: pipes, terminals, pidfds, files. SIGPIPE is never seen, and O_NONBLOCK, which is
// others' too, is never touched.

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
#include <thread>

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
    auto reader = weft::spawn([&] {
      drivers.wait_readable();
      return drivers.release();
    });
    until_waiting(1);
    write_text(peer, "row");
    EXPECT_EQ(reader.join(), ends[0]);
    EXPECT_TRUE(blocks(ends[0]));
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

/// Two descriptors of one open file, as a shell and its child have: `theirs` stays outside the runtime.
struct shared_file {
  explicit shared_file(int number) : ours(number), theirs(dup(number)) {}
  ~shared_file() { close(theirs); }
  shared_file(const shared_file&) = delete;
  shared_file& operator=(const shared_file&) = delete;
  int ours, theirs;
};

struct terminal {
  terminal() {
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) abort();
    slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    termios raw{};
    if (slave < 0 || tcgetattr(slave, &raw) != 0) abort();
    cfmakeraw(&raw);
    if (tcsetattr(slave, TCSANOW, &raw) != 0) abort();
  }
  int master, slave;
};

/// While a fiber reads from it and waits, what others see of the file is what it was; also for a program that ends
/// without a word.
void expect_left_alone(int number, int other_end) {
  weft::run([=] {
    const shared_file file(number);
    fd in(file.ours);
    EXPECT_EQ(in.native_handle(), number);
    auto reader = weft::spawn([&] { return read_text(in, 2); });
    until_waiting(1);
    EXPECT_TRUE(blocks(file.theirs));
    EXPECT_EQ(write(other_end, "hi", 2), 2);
    EXPECT_EQ(reader.join(), "hi");
    EXPECT_EQ(in.release(), number);
    EXPECT_TRUE(blocks(number));
    EXPECT_TRUE(is_open(number));
  });
  close(number);
  close(other_end);
}

TEST(fd, leaves_o_nonblock_as_it_was_found_on_a_pipe) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  expect_left_alone(ends[0], ends[1]);
}
/// Both ends of a FIFO, blocking.
std::array<int, 2> fifo() {
  const std::string path = "/tmp/weft-fd-fifo-" + std::to_string(getpid());
  if (mkfifo(path.c_str(), 0600) != 0) abort();
  const int both = open(path.c_str(), O_RDWR | O_CLOEXEC);  // so that the next ones wait for nobody
  const std::array<int, 2> ends{open(path.c_str(), O_RDONLY | O_CLOEXEC), open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  close(both);
  unlink(path.c_str());
  return ends;
}

TEST(fd, leaves_o_nonblock_as_it_was_found_on_a_fifo) {
  const auto ends = fifo();
  expect_left_alone(ends[0], ends[1]);
}
TEST(fd, leaves_o_nonblock_as_it_was_found_on_a_terminal) {
  const terminal t;
  expect_left_alone(t.slave, t.master);
}
TEST(fd, leaves_o_nonblock_as_it_was_found_on_the_masters_side_of_a_terminal) {
  const terminal t;
  expect_left_alone(t.master, t.slave);
}
TEST(fd, leaves_o_nonblock_as_it_was_found_on_a_socket) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  expect_left_alone(ends[0], ends[1]);
}

TEST(fd, what_it_opens_for_itself_goes_with_it) {
  weft::run([] {
    const auto ends = fifo();
    {
      fd in(ends[1]);
      write_text(in, "a");
    }
    EXPECT_FALSE(is_open(ends[1]));
    std::array<char, 2> two;
    EXPECT_EQ(read(ends[0], two.data(), two.size()), 1);
    EXPECT_EQ(read(ends[0], two.data(), two.size()), 0);  // nobody has the writing end any more
    fd out(ends[0]);
    EXPECT_EQ(code_of([&] { fd second(ends[0]); }), std::errc::file_exists);
    EXPECT_EQ(out.release(), ends[0]);
    fd again(ends[0]);
    EXPECT_EQ(again.native_handle(), ends[0]);
  });
}

// Others read from the same pipe and terminal, and are often quicker: a reader here never waits in the kernel for what
// another one took, or its deadline and its close would not come.
void expect_no_wait_for_what_others_took(int number, int other_end) {
  weft::run({.maxprocs = 2}, [=] {
    const shared_file file(number);
    fd in(file.ours);
    std::atomic<bool> ended{false};
    std::atomic<int> got{0};
    std::thread thief([&] {
      char c = 0;
      while (!ended) {
        pollfd what{file.theirs, POLLIN, 0};
        if (poll(&what, 1, 1) == 1 && read(file.theirs, &c, 1) == 1) ++got;
      }
    });
    auto reader = weft::spawn([&] {
      std::array<char, 1> one;
      std::error_code error;
      while (in.read_some(one, error), !error) ++got;
      return error;
    });
    constexpr int sent = 500;
    for (int i = 0; i < sent; ++i) EXPECT_EQ(write(other_end, "x", 1), 1);
    // The thief itself may wait for what our reader took: it is fed until all have left.
    until([&] { return got >= sent; });
    in.close();
    EXPECT_EQ(reader.join(), std::errc::operation_canceled);
    ended = true;
    EXPECT_EQ(write(other_end, "x", 1), 1);
    thief.join();
  });
  close(other_end);
}

TEST(fd, reads_a_pipe_that_others_read_too) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  expect_no_wait_for_what_others_took(ends[0], ends[1]);
}
// A file that is opened now would wait for the next writer.
TEST(fd, of_a_fifo_whose_writers_have_gone_is_at_its_end) {
  weft::run([] {
    for (const std::string_view left : {std::string_view(""), std::string_view("left")}) {
      const auto ends = fifo();
      ASSERT_EQ(write(ends[1], left.data(), left.size()), static_cast<ssize_t>(left.size()));
      close(ends[1]);
      fd in(ends[0]);
      std::array<char, 16> buffer;
      if (!left.empty()) {
        EXPECT_EQ(in.read_some(buffer), left.size());
      }
      in.wait_readable();
      EXPECT_EQ(in.read_some(buffer), 0u);
    }
  });
}

TEST(fd, that_was_opened_again_is_one_objects_alone) {
  weft::run([] {
    const auto ends = fifo();
    const int number = ends[0];
    fd first(number);
    ASSERT_EQ(fcntl(number, F_SETFL, O_NONBLOCK), 0);  // from now on it would be used itself
    EXPECT_EQ(code_of([&] { fd second(number); }), std::errc::file_exists);
    first.close();
    close(ends[1]);
  });
}

TEST(fd, reads_into_several_pieces_what_is_not_in_the_cache) {
  char path[] = "/tmp/weft_test_fd_XXXXXX";
  const int number = mkostemp(path, O_CLOEXEC);
  ASSERT_GE(number, 0);
  unlink(path);
  const std::string text(1 << 20, 'x');
  ASSERT_EQ(write(number, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  fsync(number);
  lseek(number, 0, SEEK_SET);
  posix_fadvise(number, 0, 0, POSIX_FADV_DONTNEED);
  weft::run([&] {
    fd file(number);
    std::array<std::byte, 100> head, body;
    const std::array<std::span<std::byte>, 2> pieces{head, body};
    EXPECT_GT(file.readv(pieces), 0u);
  });
}

TEST(fd, reads_a_fifo_that_others_read_too) {
  const auto ends = fifo();
  expect_no_wait_for_what_others_took(ends[0], ends[1]);
}
TEST(fd, reads_a_terminal_that_others_read_too) {
  const terminal t;
  expect_no_wait_for_what_others_took(t.slave, t.master);
}

/// A file of this test's own, with `text` in it.
int file_with(const std::string& text, int more_flags = 0) {
  std::string path = "/tmp/weft-fd-XXXXXX";
  const int made = mkostemp(path.data(), O_CLOEXEC);
  if (made < 0 || write(made, text.data(), text.size()) != static_cast<ssize_t>(text.size())) abort();
  const int number = open(path.c_str(), O_RDWR | O_CLOEXEC | more_flags);
  close(made);
  unlink(path.c_str());
  return number;
}

TEST(fd, takes_a_regular_file_and_moves_its_position) {
  weft::run([] {
    const std::string text(100'000, 'f');
    const shared_file file(file_with("first\n" + text));
    fd in(file.ours);
    in.wait_readable();
    EXPECT_EQ(in.wait(weft::net::readable | weft::net::writable), weft::net::readable | weft::net::writable);
    EXPECT_EQ(read_text(in, 6), "first\n");
    EXPECT_EQ(lseek(file.theirs, 0, SEEK_CUR), 6);  // where the shell would go on
    EXPECT_EQ(read_text(in, text.size()), text);
    std::array<char, 4> more;
    EXPECT_EQ(in.read_some(more), 0u);
    write_text(in, "last");
    EXPECT_EQ(lseek(file.theirs, 0, SEEK_CUR), 6 + 100'000 + 4);
    in.set_read_deadline(weft::clock::now() - 1ms);
    EXPECT_EQ(code_of([&] { in.read_some(more); }), std::errc::timed_out);
    EXPECT_EQ(code_of([&] { in.wait_readable(); }), std::errc::timed_out);
    in.close();
    EXPECT_EQ(code_of([&] { in.read_some(more); }), std::errc::operation_canceled);
    EXPECT_EQ(code_of([&] { in.wait_readable(); }), std::errc::operation_canceled);
  });
}

TEST(fd, appends_to_a_regular_file) {
  weft::run([] {
    const shared_file file(file_with("a", O_APPEND));
    fd out(file.ours);
    const std::string b = "b", c = "c";
    const std::array<std::span<const std::byte>, 2> pieces{std::as_bytes(std::span(b)), std::as_bytes(std::span(c))};
    EXPECT_EQ(out.writev(pieces), 2u);
    struct stat now {};
    ASSERT_EQ(fstat(file.theirs, &now), 0);
    EXPECT_EQ(now.st_size, 3);
  });
}

TEST(fd, takes_what_is_always_ready) {
  weft::run([] {
    fd null(open("/dev/null", O_RDWR | O_CLOEXEC)), zero(open("/dev/zero", O_RDONLY | O_CLOEXEC));
    std::array<char, 4> four;
    EXPECT_EQ(null.read_some(four), 0u);
    write_text(null, "gone");
    EXPECT_EQ(read_text(zero, 3), std::string(3, '\0'));
    fd directory(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_EQ(code_of([&] { directory.read_some(four); }), std::errc::is_a_directory);
    std::error_code error;
    fd second(null.native_handle(), error);
    EXPECT_EQ(error, std::errc::file_exists);
    const int number = null.release();
    EXPECT_TRUE(is_open(number));
    null = fd(number);
  });
}

TEST(fd, waits_for_the_first_of_both_directions) {
  weft::run([] {
    using namespace weft::net;
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fd ours(ends[0]), peer(ends[1]);
    EXPECT_EQ(ours.wait(readable | writable), writable);
    const std::size_t sent = fill(ours);
    auto waiter = weft::spawn([&] { return ours.wait(readable | writable); });
    until_waiting(1);
    write_text(peer, "x");
    EXPECT_EQ(waiter.join(), readable);
    EXPECT_EQ(read_text(ours, 1), "x");
    waiter = weft::spawn([&] { return ours.wait(readable | writable); });
    until_waiting(1);
    read_text(peer, sent);
    EXPECT_EQ(waiter.join(), writable);
    write_text(peer, "x");
    EXPECT_EQ(ours.wait(readable | writable), readable | writable);
    EXPECT_EQ(code_of([&] { ours.wait({}); }), std::errc::invalid_argument);
    EXPECT_NE(message_of([&] { ours.wait({}); }).find("expected net::readable"), std::string::npos);
    peer.close();
    EXPECT_EQ(ours.wait(readable | writable), readable | writable);  // both would say at once what has become of it
  });
}

TEST(fd, a_wait_for_both_ends_by_the_nearer_deadline_by_close_and_by_cancellation) {
  weft::run([] {
    using namespace weft::net;
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fd ours(ends[0]), peer(ends[1]);
    fill(ours);
    const auto wait = [&] { return code_of([&] { ours.wait(readable | writable); }); };
    ours.set_write_deadline(weft::clock::now() - 1s);
    EXPECT_EQ(wait(), std::errc::timed_out);
    ours.set_write_deadline(weft::clock::time_point::max());
    auto waiter = weft::spawn(wait);
    until_waiting(1);
    ours.set_read_deadline(weft::clock::now() + 1h);  // moved: it looks again, and waits on
    until_waiting(1);
    ours.set_write_deadline(weft::clock::now());
    EXPECT_EQ(waiter.join(), std::errc::timed_out);
    ours.set_deadline(weft::clock::time_point::max());
    EXPECT_THROW(weft::with_timeout(1ms, wait), weft::timed_out);
    waiter = weft::spawn(wait);
    until_waiting(1);
    ours.close();
    EXPECT_EQ(waiter.join(), std::errc::operation_canceled);
    EXPECT_EQ(wait(), std::errc::operation_canceled);
  });
}

TEST(fd, those_who_only_wait_stand_in_no_readers_way) {
  weft::run([] {
    pipe_ends p;
    weft::scope waiters;
    for (int i = 0; i < 3; ++i) waiters.go([&] { p.out.wait_readable(); });
    until_waiting(3);
    p.out.set_read_deadline(weft::clock::now() + 1ms);
    std::array<char, 1> one;
    EXPECT_EQ(code_of([&] { p.out.read_some(one); }), std::errc::timed_out);  // and is not behind them in line
    EXPECT_EQ(code_of([&] { waiters.join(); }), std::errc::timed_out);
    p.out.set_read_deadline(weft::clock::time_point::max());
    weft::scope all;
    for (int i = 0; i < 3; ++i) all.go([&] { p.out.wait_readable(); });
    until_waiting(3);
    write_text(p.in, "x");
    all.join();  // one byte, and all of them hear of it
    EXPECT_EQ(read_text(p.out, 1), "x");
  });
}

TEST(fd, makes_pipes) {
  EXPECT_THROW(weft::net::pipe(), std::logic_error);
  weft::run([] {
    auto [out, in] = weft::net::pipe();
    EXPECT_FALSE(blocks(out.native_handle()));
    EXPECT_NE(fcntl(in.native_handle(), F_GETFD) & FD_CLOEXEC, 0);
    auto reader = weft::spawn([&out = out] { return read_text(out, 2); });
    until_waiting(1);
    write_text(in, "hi");
    EXPECT_EQ(reader.join(), "hi");
    std::error_code error;
    auto second = weft::net::pipe(error);
    EXPECT_FALSE(error);
    EXPECT_TRUE(second.first && second.second);
  });
}

TEST(fd, what_it_cannot_take_stays_the_callers) {
  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  EXPECT_THROW(fd unused(file), std::logic_error);  // no runtime
  weft::run([&] {
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
  EXPECT_TRUE(is_open(file));
  close(file);
}

}  // namespace
