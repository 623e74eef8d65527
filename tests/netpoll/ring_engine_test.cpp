// SPDX-License-Identifier: Apache-2.0
//
// The ring's thread with system calls that fail as they may: nothing is lost, nothing comes twice, nothing overflows,
// and each way of having no ring has its reason.

#include "netpoll/ring_engine.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "netpoll/table.hpp"
#include "tests/netpoll/engine_exercise.hpp"
#include "tests/support/scratch_file.hpp"
#include "tests/support/stress.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace weft_test;
using namespace weft::rt;

// What the calls do besides their work; set before an engine starts.
std::atomic<unsigned> forbidden_flags{0};  // setup: EINVAL with any of these
std::atomic<int> setup_fails{0};
std::atomic<unsigned> hidden_features{0};
std::atomic<unsigned> calls{0};
std::atomic<unsigned> fail_one_in{0};  // enter, in turn: EAGAIN, EBUSY, EINTR, without having done anything
std::atomic<int> enter_fails{0};
std::atomic<unsigned> cancel_one_in{0};  // enter: cancels everything that is in flight
std::atomic<int> cancelled_polls_say{ECANCELED};
std::atomic<unsigned> pauses{0};
std::atomic<bool> saw_overflow{false};
std::atomic<std::uint64_t> corrupt_user_data{0};  // the result of a completion with this
std::atomic<unsigned> spoil_one_in{0};  // results of operations: in turn half as much, EINTR, EAGAIN, ECANCELED
std::atomic<unsigned> for_workers{0};   // operations that were submitted to be made by a worker
std::atomic<bool> no_workers{false};    // results of operations: ECANCELED
std::atomic<int> say_again{0};          // so many results of operations become EAGAIN
std::atomic<unsigned> results{0};
std::atomic<int> deny_removals{0};   // so many results of POLL_REMOVE become EALREADY
std::atomic<bool> hold_back{false};  // enter waits until it is false again
std::atomic<bool> is_held_back{false};

int faulty_setup(unsigned entries, io_uring* ring, io_uring_params* how) {
  if ((how->flags & forbidden_flags.load()) != 0) return -EINVAL;
  if (setup_fails.load() != 0) return -setup_fails.load();
  const int result = kernel_calls.setup(entries, ring, how);
  if (result == 0) ring->features &= ~hidden_features.load();
  return result;
}

bool is_file_op(std::uint64_t user_data) { return user_data > 4096 && (user_data & 7) == 0; }

void change_results(io_uring* ring) {
  unsigned head = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(ring, head, cqe) {
    if (corrupt_user_data.load() != 0 && cqe->user_data == corrupt_user_data.load()) cqe->res ^= 1;
    const bool of_file = is_file_op(cqe->user_data);
    if (const unsigned k = spoil_one_in.load(); k != 0 && of_file && cqe->res > 0) {
      const unsigned n = results.fetch_add(1);
      if (n % k == 0) {
        const bool heard_before = reinterpret_cast<file_op*>(cqe->user_data)->blocks;
        // What was read or written is so once more.
        const int spoiled[] = {(cqe->res + 1) / 2, -EINTR, heard_before ? -EINTR : -EAGAIN, -ECANCELED};
        cqe->res = spoiled[n / k % 4];
      }
    }
    if ((cqe->user_data & 7) == 2 && cqe->res == -ECANCELED) cqe->res = -cancelled_polls_say.load();
    if (of_file && no_workers.load()) cqe->res = -ECANCELED;
    if (of_file && say_again.load() > 0) {
      say_again.fetch_sub(1);
      cqe->res = -EAGAIN;
    }
    if ((cqe->user_data & 7) == 3 && cqe->res == 0 && deny_removals.load() > 0) {
      deny_removals.fetch_sub(1);
      cqe->res = -EALREADY;
    }
  }
}

void look_at_submissions(const io_uring* ring) {
  for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; ++i) {
    const io_uring_sqe& sqe = ring->sq.sqes[i & *ring->sq.kring_mask];
    if (is_file_op(sqe.user_data) && (sqe.flags & IOSQE_ASYNC) != 0) for_workers.fetch_add(1);
  }
}

int faulty_enter(io_uring* ring, unsigned wait_for) {
  look_at_submissions(ring);
  const unsigned n = calls.fetch_add(1) + 1;
  while (hold_back.load()) {
    is_held_back = true;
    std::this_thread::yield();
  }
  if (enter_fails.load() != 0) return -enter_fails.load();
  if (const unsigned k = fail_one_in.load(); k != 0 && n % k == 0) {
    constexpr int errors[] = {EAGAIN, EBUSY, EINTR};
    return -errors[n / k % 3];
  }
  if (const unsigned k = cancel_one_in.load(); k != 0 && n % k == 0) {
    if (io_uring_sqe* const sqe = io_uring_get_sqe(ring)) {
      io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
      io_uring_sqe_set_data64(sqe, 7);  // nobody's
    }
  }
  const int result = kernel_calls.enter(ring, wait_for);
  if (io_uring_cq_has_overflow(ring)) saw_overflow = true;
  change_results(ring);
  return result;
}

void counted_pause() {
  pauses.fetch_add(1);
  kernel_calls.pause();
}

constexpr ring_calls faulty{faulty_setup, faulty_enter, counted_pause};

/// An engine that was started is never destroyed, as the process's own.
ring_engine* new_engine() {
  static auto& all = *new std::vector<ring_engine*>;
  return all.emplace_back(new ring_engine);
}

class ring : public testing::Test {
 protected:
  ring() {
    forbidden_flags = 0;
    setup_fails = 0;
    hidden_features = 0;
    calls = 0;
    fail_one_in = 0;
    enter_fails = 0;
    cancel_one_in = 0;
    cancelled_polls_say = ECANCELED;
    pauses = 0;
    saw_overflow = false;
    corrupt_user_data = 0;
    spoil_one_in = 0;
    for_workers = 0;
    no_workers = false;
    say_again = 0;
    deny_removals = 0;
    hold_back = false;
    is_held_back = false;
    static ring_refusal refusal;
    static const bool here = new_engine()->start(kernel_calls, {}, refusal);
    available_ = here;
    why_ = refusal.why;
  }
  void SetUp() override {
    if (!available_) GTEST_SKIP() << "no io_uring here: " << why_;
  }

  bool available_ = false;
  std::string why_;
};

class engine_for_test {
 public:
  explicit engine_for_test(const ring_limits& limits = {}) {
    ring_refusal refusal;
    EXPECT_TRUE(it_->start(faulty, limits, refusal)) << refusal.why;
  }
  ring_engine& operator*() { return *it_; }
  ring_engine* operator->() { return it_; }

 private:
  ring_engine* const it_ = new_engine();
};

TEST_F(ring, performs_operations) {
  weft::run([] {
    engine_for_test engine;
    EXPECT_EQ(exercise(*engine, 10, 20), 10);
  });
}

TEST_F(ring, calls_that_fail_lose_and_repeat_nothing) {
  weft::run([] {
    engine_for_test engine;
    for (const unsigned k : {10U, 3U, 2U}) {
      fail_one_in = k;
      EXPECT_EQ(exercise(*engine, 50, scaled(40)), 50);
    }
    fail_one_in = 0;
  });
}

// Whatever is left of an operation is done by another, until all is done.
TEST_F(ring, operations_that_are_cut_short_are_finished) {
  weft::run([] {
    engine_for_test engine;
    for (const unsigned k : {5U, 2U}) {
      spoil_one_in = k;
      EXPECT_EQ(exercise(*engine, 50, scaled(40)), 50);
    }
    spoil_one_in = 0;
  });
}

// Without a worker of the kernel's a completion says ECANCELED, of an fsync, too: nobody may hear of it as a success or
// as a cancellation.
TEST_F(ring, operations_that_no_worker_takes_are_done_by_their_callers) {
  weft::run([] {
    engine_for_test engine;
    no_workers = true;
    EXPECT_EQ(exercise(*engine, 20, 20), 20);
    file_op of_nothing(file_action::sync, -1, nullptr, 0, 0);
    perform(*engine, of_nothing);
    EXPECT_EQ(of_nothing.error, EBADF) << "the caller did make the call";
    no_workers = false;
  });
}

TEST_F(ring, what_is_to_be_made_where_it_may_block_goes_to_a_worker_at_once) {
  weft::run([] {
    engine_for_test engine;
    const scratch_file on_disk;
    const int fd = open(on_disk.path().c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    char record[] = "record";
    file_op write(file_action::write, fd, record, sizeof record, 0);
    write.blocks = true;  // an append
    perform(*engine, write);
    EXPECT_EQ(write.done, sizeof record);
    EXPECT_EQ(for_workers.load(), 1u);
    close(fd);
  });
}

TEST_F(ring, a_file_that_says_again_for_ever_is_an_error) {
  weft::run([] {
    engine_for_test engine;
    const scratch_file on_disk("content");
    const int fd = open(on_disk.path().c_str(), O_RDONLY | O_CLOEXEC);
    char room[7];
    file_op read(file_action::read, fd, room, sizeof room, 0);
    say_again = 1000;
    perform(*engine, read);
    EXPECT_EQ(read.error, EAGAIN);
    EXPECT_EQ(say_again.load(), 998);
    say_again = 0;
    close(fd);
  });
}

TEST_F(ring, takes_more_than_it_has_room_for) {
  weft::run([] {
    engine_for_test engine({8, 16, 8});
    const int fibers = scaled(3000);
    EXPECT_EQ(exercise(*engine, fibers, 2), fibers);
    EXPECT_LE(engine->most_in_flight(), 8u);
    EXPECT_GT(engine->most_in_flight(), 4u);
    EXPECT_FALSE(saw_overflow);
  });
}

TEST_F(ring, a_read_ends_at_the_end_of_the_file) {
  weft::run([] {
    engine_for_test engine;
    const std::string pattern = numbered(300'000);
    const scratch_file on_disk(pattern);
    const int fd = open(on_disk.path().c_str(), O_RDONLY | O_CLOEXEC);
    std::string room(400'000, '?');
    file_op read(file_action::read, fd, room.data(), room.size(), 0);
    perform(*engine, read);
    EXPECT_EQ(read.error, 0);
    EXPECT_EQ(read.done, pattern.size());
    EXPECT_TRUE(room.compare(0, pattern.size(), pattern) == 0);
    close(fd);
  });
}

TEST_F(ring, errors_come_back) {
  weft::run([] {
    engine_for_test engine;
    char room[16];
    file_op of_nothing(file_action::read, -1, room, sizeof room, 0);
    perform(*engine, of_nothing);
    EXPECT_EQ(of_nothing.error, EBADF);
    const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    file_op too_much(file_action::write, full, room, sizeof room, 0);
    perform(*engine, too_much);
    EXPECT_EQ(too_much.error, ENOSPC);
    close(full);
  });
}

// --- each rung of the ladder ---

constexpr unsigned newest = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;

TEST_F(ring, older_kernels_get_older_flags) {
  for (const auto& [flags, name] : {std::pair{0U, "SINGLE_ISSUER|DEFER_TASKRUN"}, std::pair{newest, "COOP_TASKRUN"},
                                    std::pair{newest | IORING_SETUP_COOP_TASKRUN, "plain"}}) {
    forbidden_flags = flags;
    weft::run([name = name] {
      engine_for_test engine;
      EXPECT_STREQ(engine->shape().name, name);
      EXPECT_EQ(exercise(*engine, 20, 20), 20);
    });
  }
}

// --- no ring ---

std::string refusal_of() {
  ring_refusal refusal;
  if (new_engine()->start(faulty, {}, refusal)) return "it works";
  EXPECT_NE(refusal.error, 0);
  return refusal.why;
}

TEST_F(ring, each_refusal_says_what_to_change) {
  const auto says = [](int error, const char* words) {
    setup_fails = error;
    const std::string why = refusal_of();
    EXPECT_NE(why.find(words), std::string::npos) << why;
  };
  says(EPERM, "EPERM");
  says(ENOSYS, "ENOSYS: the kernel has none, or a seccomp filter hides it");
  says(ENOMEM, "ulimit -l");
  says(EMFILE, "ulimit -n");
  says(ENFILE, "fs.file-max");
  says(EINVAL, "no set of flags");
  says(EIO, "error 5");
  setup_fails = 0;
  hidden_features = IORING_FEAT_NODROP;
  EXPECT_EQ(refusal_of(), "the kernel's io_uring lacks the feature NODROP");
  hidden_features = 0;
  enter_fails = EPERM;
  EXPECT_EQ(refusal_of(), "io_uring_enter: error 1: a seccomp filter forbids it");
  enter_fails = 0;
  corrupt_user_data = 43;
  EXPECT_NE(refusal_of().find("it does not work here: READ of /proc/self/exe"), std::string::npos) << refusal_of();
  corrupt_user_data = 42;
  EXPECT_NE(refusal_of().find("it does not work here: NOP"), std::string::npos) << refusal_of();
  corrupt_user_data = 0;
  EXPECT_EQ(refusal_of(), "it works");
}

// --- readiness ---

/// One end of a stream, registered with an engine.
class watched_socket {
 public:
  watched_socket(ring_engine& engine, int fd) : engine_(engine), d_(take_descriptor()) {
    d_->open(fd, false);
    EXPECT_EQ(engine.add(*d_), 0);
  }
  ~watched_socket() { close(); }
  void close() {
    if (d_ == nullptr) return;
    d_->close();
    engine_.remove(*d_);
    ::close(d_->fd());
    give_back_descriptor(d_);
    d_ = nullptr;
  }
  descriptor& operator*() { return *d_; }

  void read_one() {
    ASSERT_EQ(d_->begin(direction::read), wait_outcome::ok);
    for (char c = 0; ::read(d_->fd(), &c, 1) != 1;) ASSERT_EQ(d_->wait(direction::read), wait_outcome::ok);
    d_->end(direction::read, false);
  }
  void write_one() {
    ASSERT_EQ(d_->begin(direction::write), wait_outcome::ok);
    for (const char c = 'x'; ::write(d_->fd(), &c, 1) != 1;) ASSERT_EQ(d_->wait(direction::write), wait_outcome::ok);
    d_->end(direction::write, false);
  }

 private:
  ring_engine& engine_;
  descriptor* d_;
};

struct socket_pair {
  explicit socket_pair(ring_engine& engine) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    a.emplace(engine, ends[0]);
    b.emplace(engine, ends[1]);
  }
  std::optional<watched_socket> a, b;
};

void ping_pong(socket_pair& pair, int rounds) {
  weft::scope s;
  s.go([&] {
    for (int i = 0; i < rounds; ++i) {
      pair.b->read_one();
      pair.b->write_one();
    }
  });
  for (int i = 0; i < rounds; ++i) {
    pair.a->write_one();
    pair.a->read_one();
  }
  s.join();
}

TEST_F(ring, reports_readiness) {
  for (const unsigned flags : {0U, newest, newest | IORING_SETUP_COOP_TASKRUN}) {
    forbidden_flags = flags;
    weft::run([] {
      engine_for_test engine;
      socket_pair pair(*engine);
      ping_pong(pair, scaled(1000));
      EXPECT_EQ(engine->rearmed(), 0u);
    });
  }
}

TEST_F(ring, polls_that_end_behind_its_back_are_armed_anew) {
  weft::run([] {
    engine_for_test engine;
    socket_pair pair(*engine);
    cancel_one_in = 5;
    ping_pong(pair, scaled(1000));
    cancel_one_in = 0;
    EXPECT_GT(engine->rearmed(), 0u);
  });
}

// They are tried again, but not without a breath.
TEST_F(ring, polls_that_find_no_memory_are_armed_after_a_pause) {
  weft::run([] {
    engine_for_test engine;
    socket_pair pair(*engine);
    cancelled_polls_say = ENOMEM;
    cancel_one_in = 5;
    ping_pong(pair, scaled(200));
    cancel_one_in = 0;
    EXPECT_GT(engine->rearmed(), 0u);
    EXPECT_GT(pauses.load(), 0u);
  });
}

TEST_F(ring, edges_that_overflow_are_not_lost) {
  weft::run([] {
    engine_for_test engine({8, 16, 8});
    constexpr int count = 200;
    std::vector<std::unique_ptr<socket_pair>> pairs;
    for (int i = 0; i < count; ++i) pairs.push_back(std::make_unique<socket_pair>(*engine));
    std::atomic<int> got{0};
    weft::scope s;
    for (int round = 1; round <= 5; ++round) {
      const auto before = waiting();
      for (auto& pair : pairs)
        s.go([&] {
          pair->a->read_one();
          got.fetch_add(1);
        });
      until_waiting(before + count);
      hold_back = true;
      is_held_back = false;
      pairs[0]->b->write_one();
      until([] { return is_held_back.load(); });
      for (int i = 1; i < count; ++i) pairs[static_cast<std::size_t>(i)]->b->write_one();
      hold_back = false;
      until([&] { return got.load() == round * count; });
    }
    s.join();
    EXPECT_TRUE(saw_overflow);
  });
}

TEST_F(ring, calls_that_fail_lose_no_edge) {
  weft::run([] {
    engine_for_test engine;
    socket_pair pair(*engine);
    fail_one_in = 3;
    ping_pong(pair, scaled(500));
    fail_one_in = 0;
  });
}

// Whatever a removal meets, it ends, and the slot and the number can be used again at once.
TEST_F(ring, a_removal_ends_whatever_it_meets) {
  weft::run([] {
    engine_for_test engine;
    for (int i = 0; i < scaled(300); ++i) {
      socket_pair pair(*engine);  // removed before it was armed, in part
      if (i % 3 == 1) ping_pong(pair, 2);
      if (i % 4 == 2) deny_removals = 2;
      if (i % 5 == 3) cancel_one_in = 1;
      if (i % 2 == 0) pair.b->write_one();  // an edge races with the removal
      pair.a.reset();
      cancel_one_in = 0;
    }
  });
}

TEST_F(ring, refuses_what_is_always_ready) {
  weft::run([] {
    engine_for_test engine;
    const scratch_file on_disk;
    const int fd = open(on_disk.path().c_str(), O_RDONLY | O_CLOEXEC);
    descriptor* const d = take_descriptor();
    d->open(fd, false);
    EXPECT_EQ(engine->add(*d), EPERM);
    d->close();
    give_back_descriptor(d);
    close(fd);
  });
}

// epoll takes it, so the ring does.
TEST_F(ring, takes_a_regular_file_that_tells_of_changes) {
  const int fd = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC);
  if (fd < 0) GTEST_SKIP() << "no /proc here";
  weft::run([fd] {
    engine_for_test engine;
    descriptor* const d = take_descriptor();
    d->open(fd, false);
    EXPECT_EQ(engine->add(*d), 0);
    d->close();
    engine->remove(*d);
    give_back_descriptor(d);
  });
  close(fd);
}

// Once a close has returned the peer knows.
TEST_F(ring, lets_go_of_the_file_before_the_close_returns) {
  weft::run([] {
    engine_for_test engine;
    for (int i = 0; i < scaled(200); ++i) {
      int ends[2];
      ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
      {
        watched_socket one(*engine, ends[0]);
        ASSERT_EQ(write(ends[1], "x", 1), 1);
        one.read_one();
      }
      char c = 0;
      ASSERT_EQ(read(ends[1], &c, 1), 0) << std::strerror(errno);
      close(ends[1]);
    }
  });
}

}  // namespace
