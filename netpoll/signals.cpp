// SPDX-License-Identifier: Apache-2.0
// From a signal handler to channels, through a pipe and a thread.
//
//   handler    writes the signal's number into a pipe: the only thing it may do. It never blocks: a full pipe loses the
//              signal, as the kernel itself merges those that are pending.
//   thread     reads numbers, and sends them without waiting on each channel that wants them. It is a plain thread, so
//              that a signal needs no fiber, and reaches the channels also while no runtime runs. It lives as long as
//              the process.
//   registry   holds a handle of every channel, and drops those that have no other holder any more.
//
// A signalfd would do without the handler, but only if every thread of the process blocked the signals, those of
// libraries included.
#include "netpoll/signals.hpp"

#include <weft/detail/atomic.hpp>
#include <weft/signals.hpp>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "runtime/sched/signal_mask.hpp"

namespace weft {
inline namespace v0 {

namespace {

constexpr int room = 16;  // of each channel
static_assert(NSIG <= 128);

struct subscription {
  chan<int> to;
  std::vector<int> wanted;
};

struct registry {
  std::mutex mutex;  // held for moments, and never across a park
  std::vector<subscription> all;
  int pipe[2] = {-1, -1};
};

registry& the_registry() {
  static auto* const one = new registry;  // outlives the statics: a signal may come at any time
  return *one;
}

detail::atomic<int> pipe_for_handlers{-1};  // stored (release) before the first handler is installed, which acquires it

void on_signal(int number) {
  const int saved = errno;
  const auto byte = static_cast<std::uint8_t>(number);
  [[maybe_unused]] const ssize_t unused = write(pipe_for_handlers.load(std::memory_order_acquire), &byte, 1);
  errno = saved;
}

void deliver(int number) {
  registry& r = the_registry();
  std::vector<chan<int>> to;
  {
    const std::lock_guard guard(r.mutex);
    for (const subscription& each : r.all)
      if (std::find(each.wanted.begin(), each.wanted.end(), number) != each.wanted.end()) to.push_back(each.to);
  }
  for (const chan<int>& each : to) static_cast<void>(each.try_send(number));
}

void* deliver_for_ever(void*) {
  rt::block_foreign_signals();
  pthread_setname_np(pthread_self(), "weft-signals");
  for (;;) {
    std::uint8_t number = 0;
    if (read(the_registry().pipe[0], &number, 1) == 1) deliver(number);
  }
}

[[noreturn]] void refuse(int error, const char* what) {
  throw std::system_error(error, std::system_category(), std::string("weft::signals: ") + what);
}

// With the registry's mutex.
void start(registry& r) {
  if (r.pipe[0] >= 0) return;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) refuse(errno, "cannot make a pipe");
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
  std::copy(ends, ends + 2, r.pipe);
  pipe_for_handlers.store(ends[1], std::memory_order_release);
  pthread_t thread;
  const int error = pthread_create(&thread, nullptr, deliver_for_ever, nullptr);
  if (error == 0) {
    pthread_detach(thread);
    return;
  }
  ::close(ends[0]);
  ::close(ends[1]);
  r.pipe[0] = r.pipe[1] = -1;
  refuse(error, "cannot start a thread");
}

void check(std::initializer_list<int> wanted) {
  if (wanted.size() == 0)
    throw std::invalid_argument("weft::signals: the list is empty; expected signals such as SIGINT, SIGTERM");
  for (const int number : wanted) {
    const bool uncatchable = number == SIGKILL || number == SIGSTOP;
    const bool fault = number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL;
    if (number < 1 || number >= NSIG || uncatchable || fault)
      throw std::invalid_argument("weft::signals: signal " + std::to_string(number) +
                                  (uncatchable ? " cannot be caught"
                                   : fault     ? " comes from a fault of the program, which cannot go on after it"
                                               : " does not exist") +
                                  "; expected one that another process may send, such as SIGINT or SIGTERM");
  }
}

void sweep(std::vector<subscription>& all) {
  all.erase(
      std::remove_if(all.begin(), all.end(),
                     [](const subscription& s) { return detail::chan_is_sole(detail::chan_insight::core(s.to)); }),
      all.end());
}

}  // namespace

recv_chan<int> signals(std::initializer_list<int> wanted) {
  check(wanted);
  chan<int> channel(room);
  registry& r = the_registry();
  const std::lock_guard guard(r.mutex);
  start(r);
  sweep(r.all);
  r.all.push_back({channel, wanted});
  struct sigaction how {};
  how.sa_handler = on_signal;
  how.sa_flags = SA_RESTART | SA_ONSTACK;  // fibers' stacks are small
  sigfillset(&how.sa_mask);
  for (const int number : wanted)
    if (sigaction(number, &how, nullptr) != 0)
      refuse(errno, ("cannot handle signal " + std::to_string(number)).c_str());
  return channel;
}

}  // namespace v0

namespace rt {

bool signals_are_awaited() noexcept {
  registry& r = the_registry();
  const std::lock_guard guard(r.mutex);
  sweep(r.all);
  return !r.all.empty();
}

}  // namespace rt
}  // namespace weft
