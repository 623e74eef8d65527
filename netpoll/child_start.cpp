// SPDX-License-Identifier: Apache-2.0
// Order of a start
//  1  everything is looked through: nothing has been made before the request is known to be sound; the caller waits for
//     its turn
//  2  pipes are made, and our ends given to the poller; a descriptor is put by for the pidfd
//  3  posix_spawn
//  4  the child's ends are closed, and the pidfd is opened in the place that is free now
// So what can fail fails before there is a child. What still can in step 4 (another thread has taken the last
// descriptor, no thread can be had) kills the child, which has begun.
//
// posix_spawn shares its memory with the child until that runs its program (vfork): the time it takes does not depend on
// how much memory this process has, and only the calling thread stands still.
//
// Turns. A new child and the thread that waits for it to begin want a CPU each, and nothing is gained by many more of
// them than there are CPUs: a fiber that sleeps beside 1000 starts at once was late by 280 ms at worst (2 CPUs), and in
// turns by what a thread is. Those in line hold no descriptors.
//
// Numbers. The child makes a stream by dup2, one after the other, and the first must not close the source of the next:
// {.in = 1, .out = 0}, or a pipe of ours that got the number 0 as that was free. So sources below 3 are first duplicated
// above, but for one that stays where it is.
#include "netpoll/child_start.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/error.hpp>
#include <weft/semaphore.hpp>

#include "netpoll/accept.hpp"
#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/open.hpp"
#include "runtime/sched/blocking.hpp"

namespace weft::rt {

namespace {

constexpr std::ptrdiff_t most_at_a_time = 4;
constinit semaphore turns(most_at_a_time);

/// A turn to start a child. The wait for it is cancellable.
class turn {
 public:
  explicit turn(failure& why) {
    const quiet_region until_it_is_told;
    try {
      turns.acquire();
      taken_ = true;
    } catch (const cancelled&) {
      why = {ECANCELED, true};
    } catch (const std::system_error& over) {  // the runtime ends, and this is a plain thread
      why = {over.code().value(), true};
    }
  }
  ~turn() {
    if (taken_) turns.release();
  }
  turn(const turn&) = delete;
  turn& operator=(const turn&) = delete;

 private:
  bool taken_ = false;
};

constexpr int streams = 3;
constexpr const char* stream_names[streams] = {"standard input", "standard output", "standard error"};

/// A descriptor number of ours, closed in the end.
class owned_number {
 public:
  owned_number() noexcept = default;
  explicit owned_number(int number) noexcept : number_(number) {}
  owned_number(owned_number&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  owned_number& operator=(owned_number&& other) noexcept {
    if (this != &other) {
      reset();
      number_ = std::exchange(other.number_, -1);
    }
    return *this;
  }
  ~owned_number() { reset(); }

  int get() const noexcept { return number_; }
  int release() noexcept { return std::exchange(number_, -1); }
  void reset() noexcept {
    if (number_ < 0) return;
    close(release());
    descriptor_came_free();
  }

 private:
  int number_ = -1;
};

/// What the child does before its program, and with what signals it begins.
class spawn_plan {
 public:
  spawn_plan() noexcept {
    note(posix_spawn_file_actions_init(&actions_));
    note(posix_spawnattr_init(&attributes_));
    sigset_t none, by_default;
    sigemptyset(&none);
    sigemptyset(&by_default);
    sigaddset(&by_default, SIGPIPE);
    note(posix_spawnattr_setsigmask(&attributes_, &none));
    note(posix_spawnattr_setsigdefault(&attributes_, &by_default));
    note(posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  }
  ~spawn_plan() {
    posix_spawnattr_destroy(&attributes_);
    posix_spawn_file_actions_destroy(&actions_);
  }
  spawn_plan(const spawn_plan&) = delete;
  spawn_plan& operator=(const spawn_plan&) = delete;

  /// The child's `target` is what is `source` here; if they are the same, it is kept open.
  void place(int source, int target) noexcept { note(posix_spawn_file_actions_adddup2(&actions_, source, target)); }
  void open_null(int target) noexcept {
    const int how = target == STDIN_FILENO ? O_RDONLY : O_WRONLY;
    note(posix_spawn_file_actions_addopen(&actions_, target, "/dev/null", how, 0));
  }
  void enter(const char* folder) noexcept { note(posix_spawn_file_actions_addchdir_np(&actions_, folder)); }

  /// The first thing that went wrong above.
  int error() const noexcept { return error_; }
  int spawn(pid_t& child, char* const* argv, char* const* environment) const noexcept {
    return spawn_now(child, actions_, attributes_, argv, environment);
  }

 private:
  void note(int error) noexcept {
    if (error_ == 0) error_ = error;
  }

  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
  int error_ = 0;
};

class starter {
 public:
  explicit starter(const detail::process_request& what) : what_(what), dir_(what.dir) {}

  started_child start() {
    if (!sound()) return std::move(result_);
    const turn mine(result_.why);
    if (!result_.why && made_ready()) spawn();
    if (result_.why) result_.child.reset();
    return std::move(result_);
  }

 private:
  bool fail(int error, std::string detail) {
    result_.why = {error};
    result_.detail = std::move(detail);
    return false;
  }

  // --- 1 ---

  bool sound() {
    const auto has_nul = [](std::string_view text) { return text.find('\0') != std::string_view::npos; };
    if (what_.argv.empty()) return fail(EINVAL, "there are no arguments (expected the program's name as the first)");
    for (std::size_t i = 0; i < what_.argv.size(); ++i)
      if (has_nul(what_.argv[i]))
        return fail(EINVAL, "argument " + std::to_string(i) + " has a NUL in it: " + quoted(what_.argv[i]));
    if (has_nul(dir_)) return fail(EINVAL, "the folder has a NUL in its name: " + quoted(dir_));
    for (const std::string& each : what_.env) {
      if (has_nul(each)) return fail(EINVAL, "the environment has an entry with a NUL in it: " + quoted(each));
      if (each.find('=') == std::string::npos || each.front() == '=')
        return fail(EINVAL, "the environment has an entry " + quoted(each) + " (expected NAME=value)");
    }
    for (int i = 0; i < streams; ++i) {
      const process_stream& s = what_.streams[i];
      if (s.what() == process_stream::kind::descriptor && !is_open_now(s.descriptor()))
        return fail(EBADF, std::string(stream_names[i]) + " is to be descriptor " + std::to_string(s.descriptor()) +
                               ", which is not open");
    }
    return true;
  }

  // --- 2 ---

  bool made_ready() {
    result_.child.reset(new child_process);
    child_process& c = *result_.child;
    c.now = child_process::state::ended;  // there is nothing to kill
    c.parent = getpid();
    c.name = what_.argv.front();
    for (int i = 0; i < streams; ++i)
      if (!made_ready(i)) return false;
    if (!dir_.empty()) plan_.enter(dir_.c_str());
    if (plan_.error() != 0) return fail(plan_.error(), "no file actions for posix_spawn");
    // In the end the child's pidfd takes this one's place. It tells as well whether there are pidfds here.
    place_of_pidfd_ = owned_number(open_pidfd_now(getpid()));
    if (place_of_pidfd_.get() >= 0) return true;
    const int error = -place_of_pidfd_.release();
    if (error == EMFILE || error == ENFILE || error == ENOMEM) return fail(error, short_of(error, "a pidfd"));
    return pipe_instead_of_pidfd(c);
  }

  bool made_ready(int i) {
    const process_stream& s = what_.streams[i];
    switch (s.what()) {
      case process_stream::kind::inherit:
        set_blocking_now(i, true);  // nothing, if it is not open
        return true;
      case process_stream::kind::null:
        plan_.open_null(i);
        return true;
      case process_stream::kind::descriptor:
        set_blocking_now(s.descriptor(), true);
        return placed(s.descriptor(), i);
      case process_stream::kind::pipe:
        break;
    }
    owned_number reading, writing;
    if (!made_pipe(reading, writing, stream_names[i])) return false;
    owned_number& ours = i == STDIN_FILENO ? writing : reading;
    owned_number& childs = i == STDIN_FILENO ? reading : writing;
    std::error_code error;
    result_.child->streams[i] = net::fd(ours.get(), error);
    if (error) return fail(error.value(), std::string("a pipe for its ") + stream_names[i]);
    static_cast<void>(ours.release());
    childs_[i] = std::move(childs);
    return placed(childs_[i].get(), i);
  }

  /// The child's `target` is to be what is `source` here.
  bool placed(int source, int target) {
    if (source != target && source < streams) {
      copies_[target] = owned_number(copy_above_streams_now(source));
      source = copies_[target].get();
      if (source < 0) return fail(-copies_[target].release(), short_of(-source, stream_names[target]));
    }
    plan_.place(source, target);
    return true;
  }

  bool made_pipe(owned_number& reading, owned_number& writing, const char* what_for) {
    int ends[2];
    const int result = blocking_pipe_now(ends);
    if (result < 0) return fail(-result, short_of(-result, what_for));
    reading = owned_number(ends[0]);
    writing = owned_number(ends[1]);
    return true;
  }

  bool pipe_instead_of_pidfd(child_process& c) {
    owned_number reading;
    if (!made_pipe(reading, ends_with_child_, "its end")) return false;
    set_blocking_now(reading.get(), false);
    int error = 0;
    c.end = open_descriptor(reading.release(), false, error);
    return c.end != nullptr || fail(error, "its end");
  }

  // --- 3 ---

  void spawn() {
    std::vector<char*> argv, environment;
    for (const std::string& each : what_.argv) argv.push_back(const_cast<char*>(each.c_str()));
    argv.push_back(nullptr);
    for (const std::string& each : what_.env) environment.push_back(const_cast<char*>(each.c_str()));
    environment.push_back(nullptr);
    child_process& c = *result_.child;
    int error = 0;
    give_way_where_threads_are_short();
    {
      const blocking_section announced;
      error = -plan_.spawn(c.pid, argv.data(), what_.replaces_env ? environment.data() : environ);
    }
    for (owned_number& each : childs_) each.reset();
    for (owned_number& each : copies_) each.reset();
    if (error != 0) {
      // What is not there may be the folder, or what the program needs.
      const int in_folder = dir_.empty() ? 0 : -may_enter_now(dir_.c_str());
      fail(in_folder != 0 ? in_folder : error,
           in_folder != 0 ? "it cannot start in " + quoted(dir_) : reason_of(error));
      return;
    }
    c.now = child_process::state::running;
    if (c.end != nullptr)
      watch();
    else
      open_pidfd();
  }

  // --- 4 ---

  void watch() {
    const int error = -watch_by_thread(result_.child->pid, ends_with_child_.get());
    if (error == 0)
      static_cast<void>(ends_with_child_.release());
    else
      abandon(error, "no thread to wait for it (ulimit -u, pids.max of the cgroup)");
  }

  void open_pidfd() {
    child_process& c = *result_.child;
    place_of_pidfd_.reset();
    owned_number pidfd(open_pidfd_now(c.pid));
    int unused = 0;
    int error = pidfd.get() < 0 ? -pidfd.release() : 0;
    // Another process's, if the number has been given out again; one of ours that has ended is readable.
    if (error == 0 && look_at_child_now({P_PIDFD, static_cast<id_t>(pidfd.get())}, after_look::keep, unused) < 0 &&
        poll_now(pidfd.get(), POLLIN) != 0)
      error = ESRCH;
    if (error == ESRCH || error == EINVAL) {  // it has ended, and others have reaped it
      c.now = child_process::state::lost;
      return;
    }
    if (error == 0) c.end = open_descriptor(pidfd.release(), false, error);
    c.has_pidfd = c.end != nullptr;
    if (!c.has_pidfd) abandon(error, short_of(error, "a pidfd"));
  }

  /// Kills the child, which has begun, and reaps it.
  void abandon(int error, const std::string& why) {
    child_process& c = *result_.child;
    int unused = 0;
    const child_name child{P_PID, static_cast<id_t>(c.pid)};
    if (look_at_child_now(child, after_look::keep, unused) >= 0 && signal_process_now(c.pid, SIGKILL) == 0) {
      const blocking_section announced;
      await_child_now(c.pid, after_look::reap);
    }
    c.now = child_process::state::ended;
    fail(error, why + "; it was killed");
  }

  // --- what is said ---

  static std::string short_of(int error, const char* what) {
    std::string text = std::string("no descriptor for ") + what;
    if (error == EMFILE) text += " (raise the limit: ulimit -n)";
    if (error == ENFILE) text += " (raise fs.file-max)";
    return text;
  }

  std::string reason_of(int error) const {
    const std::string& program = what_.argv.front();
    const bool is_path = program.find('/') != std::string::npos;
    switch (error) {
      case ENOENT:
        if (!is_path) return "no folder of PATH has it";
        if ((program.front() == '/' || dir_.empty()) && exists_now(program.c_str()))
          return "it is there, but not what is to run it (the interpreter in its first line, or its loader)";
        return "there is no such file";
      case EACCES:
        return is_path ? "it may not be executed (chmod +x), or not be reached"
                       : "a folder of PATH has it, but it may not be executed (chmod +x)";
      case ENOEXEC:
        return "it is no program (a script says in its first line who is to run it: #!/bin/sh)";
      case E2BIG:
        return "its arguments and environment are too long (pass them by a file or its standard input)";
      case EAGAIN:
        return "no more processes can be had (ulimit -u, pids.max of the cgroup)";
      default:
        return "posix_spawn";
    }
  }

  const detail::process_request& what_;
  const std::string dir_;
  started_child result_;
  spawn_plan plan_;
  owned_number childs_[streams];  ///< their ends of the pipes
  owned_number copies_[streams];  ///< sources that stood in the way
  owned_number place_of_pidfd_;
  owned_number ends_with_child_;
};

}  // namespace

started_child start_child(const detail::process_request& what) {
  if (const failure why = cancelled_at_entry()) return {nullptr, why, {}};
  return starter(what).start();
}

}  // namespace weft::rt
