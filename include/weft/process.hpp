// SPDX-License-Identifier: Apache-2.0
// Other programs: started, fed, read, waited for and killed, while only the fiber waits.
//
// ```cpp
// const auto listed = weft::process::output({"ls", "-l"});          // {status, out, err}
//
// auto sort = weft::process::start({"sort"}, {.in = weft::process::pipe, .out = weft::process::pipe});
// sort.in().write_all(std::string_view("b\na\n"));
// sort.in().close();                                                // its end of input
// for (std::string& line : weft::io::lines(sort.out())) use(line);
// if (!sort.wait()) complain();
// ```
//
// The program. argv[0] is looked up as execvp does: with a '/' in it, it is a path (a relative one counts from `dir`),
// else the folders of PATH are searched, of this process's PATH also where `env` replaces the environment. No shell is
// in between: {"sh", "-c", text} brings one.
//
// What the child gets. Its three streams as asked for, and of this process's other descriptors those that are not
// close-on-exec: none of weft's are. What it gets as 0, 1 and 2 is blocking, as programs expect: where a file that is
// inherited or passed was non-blocking, that is taken off the open file, which this process shares; weft's own objects
// go on working without it. No signal is blocked; SIGPIPE, and what has a handler here or belongs to `weft::signals`,
// has its default action; a signal that the program ignores stays ignored.
//
// How long. A call may be made from any number of fibers, and from plain threads while a runtime runs, which it then
// blocks. `start` waits for its turn, as four start at a time, and holds its thread from there until the child has begun
// its program, announced as weft::blocking does: about a millisecond, however much memory this process has. It can be
// cancelled until its turn, all other waits until their end; with_timeout bounds them.
//
// A child belongs to the process that has started it: in a forked child a `process` object does nothing.
#pragma once

#include <sys/types.h>

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/detail/export.hpp>
#include <weft/io.hpp>
#include <weft/net/fd.hpp>

namespace weft {
namespace rt {
struct child_process;
}  // namespace rt

inline namespace v0 {

/// process_status says how a program has ended.
class WEFT_EXPORT process_status {
 public:
  /// It has not: neither exited nor ended by a signal.
  constexpr process_status() noexcept = default;
  /// From what waitpid(2) stores.
  explicit constexpr process_status(int wait_status) noexcept : ended_(true), wait_status_(wait_status) {}

  /// Whether it ended by itself, with an exit code.
  [[nodiscard]] constexpr bool exited() const noexcept { return ended_ && signal() == 0; }
  /// Its exit code, 0 to 255; -1 if it has not exited.
  [[nodiscard]] constexpr int code() const noexcept { return exited() ? (wait_status_ >> 8) & 0xff : -1; }
  /// The signal that ended it; 0 if none did.
  [[nodiscard]] constexpr int signal() const noexcept { return wait_status_ & 0x7f; }
  /// Whether it exited with code 0.
  explicit constexpr operator bool() const noexcept { return exited() && code() == 0; }
  /// "exit code 3", "signal 9 (SIGKILL)", with ", core dumped" where one was.
  [[nodiscard]] std::string to_string() const;

  friend constexpr bool operator==(const process_status&, const process_status&) noexcept = default;

 private:
  bool ended_ = false;
  int wait_status_ = 0;
};

/// process_stream is what a child has as its standard input, output or error: `process::inherit`, `process::null`,
/// `process::pipe`, or a descriptor of this process, of which the child gets a duplicate; it stays the caller's. The
/// same one may stand for several: {.out = log, .err = log}. A number means this process's file: {.err = 1} is what is
/// standard output here, also where `.out` is something else.
class process_stream {
 public:
  enum class kind : std::uint8_t { inherit, null, pipe, descriptor };

  constexpr process_stream() noexcept = default;
  explicit constexpr process_stream(kind what) noexcept : kind_(what) {}
  template <std::same_as<int> Int>
  constexpr process_stream(Int descriptor) noexcept : kind_(kind::descriptor), descriptor_(descriptor) {}

  [[nodiscard]] constexpr kind what() const noexcept { return kind_; }
  [[nodiscard]] constexpr int descriptor() const noexcept { return descriptor_; }

 private:
  kind kind_ = kind::inherit;
  int descriptor_ = -1;
};

/// process_environment is a child's environment: this process's one unless it was given a list, which replaces all of
/// it. A list that is empty is an empty environment: `.env = std::vector<std::string>()`. Entries are "NAME=value".
class process_environment {
 public:
  /// This process's, as it is when the child starts.
  process_environment() noexcept = default;
  process_environment(std::vector<std::string> variables) : variables_(std::move(variables)), replaces_(true) {}
  process_environment(std::initializer_list<std::string> variables) : variables_(variables), replaces_(true) {}

  [[nodiscard]] bool replaces() const noexcept { return replaces_; }
  [[nodiscard]] const std::vector<std::string>& variables() const noexcept { return variables_; }

 private:
  std::vector<std::string> variables_;
  bool replaces_ = false;
};

/// process_options is what `process::start` takes beside the arguments.
struct process_options {
  process_stream in{};
  process_stream out{};
  process_stream err{};
  /// Where the child starts; empty: where this process is.
  std::string dir{};
  process_environment env{};
};

/// process_output_options is what `process::output` takes beside the arguments, with the meaning they have for `start`.
struct process_output_options {
  std::string dir{};
  process_environment env{};
};

/// process_output is what a program has written until its end, and how it ended.
struct process_output {
  process_status status;
  std::string out;
  std::string err;
};

namespace detail {

/// The options as they are handed to the compiled library: without a container, since a program may be compiled with
/// checked ones (_GLIBCXX_DEBUG), which are other types.
struct process_request {
  std::span<const std::string> argv;
  process_stream streams[3];
  std::string_view dir;
  std::span<const std::string> env;
  bool replaces_env = false;
};

}  // namespace detail

/// process is a child process: one that was started, until it is waited for or the object goes. Its destructor kills it
/// with SIGKILL if it still runs, waits until it has ended, shielded from cancellation, and reaps it: so no child
/// outlives its object, and none stays a zombie. Only the fiber waits, usually for less than a millisecond; for a child
/// that is stuck in the kernel (state D: a dead network drive) as long as that takes. One that this process may not kill
/// any more, as it has become another user's, is left running, and reaped by a helper thread.
///
/// Only the child itself is killed, not what it has started. Any number of fibers may wait for it and send it signals at
/// once; moving and destroying it is for one that knows that the others have left.
class WEFT_EXPORT process {
 public:
  using status = process_status;
  using stream = process_stream;

  static constexpr process_stream inherit{process_stream::kind::inherit};  ///< this process's
  static constexpr process_stream null{process_stream::kind::null};        ///< /dev/null
  static constexpr process_stream pipe{process_stream::kind::pipe};  ///< the other end is `in()`, `out()`, `err()`

  /// No process: calls fail with std::errc::no_such_process.
  process() noexcept = default;
  process(process&& other) noexcept : child_(std::exchange(other.child_, nullptr)) {}
  process& operator=(process&& other) noexcept {
    if (this != &other) {
      reset();
      child_ = std::exchange(other.child_, nullptr);
    }
    return *this;
  }
  ~process() { reset(); }

  /// Starts a program. Errors name what they are about: a program or folder that is not there (errc::
  /// no_such_file_or_directory) or may not be used (permission_denied), a file that is no program
  /// (executable_format_error), a list that is too long (argument_list_too_long); no arguments, a NUL within one, or
  /// an environment entry without '=' (invalid_argument); a descriptor that is not open (bad_file_descriptor); no
  /// descriptors left (too_many_files_open), no more processes (resource_unavailable_try_again). After one nothing has
  /// been started and nothing is left open. Without a runtime: std::logic_error.
  [[nodiscard]] static process start(const std::vector<std::string>& argv, const process_options& how = {}) {
    return begin(request(argv, how), nullptr);
  }
  [[nodiscard]] static process start(const std::vector<std::string>& argv, const process_options& how,
                                     std::error_code& error) {
    return begin(request(argv, how), &error);
  }
  [[nodiscard]] static process start(const std::vector<std::string>& argv, std::error_code& error) {
    return start(argv, process_options{}, error);
  }

  /// Runs a program until its end and gives what it has written, both streams read at once. Its standard input is null.
  /// If the wait is cancelled or late, the child is killed and reaped.
  ///
  /// It returns when the child has ended and both streams have, as $(...) does in a shell: what the child has started,
  /// and left running with its output, is waited for as well. Put with_timeout around it, or redirect that.
  [[nodiscard]] static process_output output(const std::vector<std::string>& argv,
                                             const process_output_options& how = {}) {
    process_output result;
    collect(request(argv, how), result, nullptr);
    return result;
  }
  /// The same; what had come before an error is there.
  [[nodiscard]] static process_output output(const std::vector<std::string>& argv, const process_output_options& how,
                                             std::error_code& error) {
    process_output result;
    collect(request(argv, how), result, &error);
    return result;
  }
  [[nodiscard]] static process_output output(const std::vector<std::string>& argv, std::error_code& error) {
    return output(argv, process_output_options{}, error);
  }

  /// This process's ends of the pipes: what is written to `in` the child reads, and so on. They live as long as the
  /// object, also when it is moved; close `in()` to give the child an end of input. A stream that was not started as
  /// `process::pipe` is std::errc::bad_file_descriptor; the form with `error` then returns an object without descriptor.
  [[nodiscard]] net::fd& in() { return end_of(0, nullptr); }
  [[nodiscard]] net::fd& in(std::error_code& error) { return end_of(0, &error); }
  [[nodiscard]] net::fd& out() { return end_of(1, nullptr); }
  [[nodiscard]] net::fd& out(std::error_code& error) { return end_of(1, &error); }
  [[nodiscard]] net::fd& err() { return end_of(2, nullptr); }
  [[nodiscard]] net::fd& err(std::error_code& error) { return end_of(2, &error); }

  /// Waits until the child has ended. Returns the same each time. A wait that is cancelled leaves the child alone. Does
  /// not close `in()`: a child that reads to the end needs that before.
  ///
  /// Where the program ignores SIGCHLD, or has a handler that reaps every child, the status is still had from Linux 6.15
  /// on; else it is lost, which is std::errc::no_child_process, thrown once the child has ended.
  process_status wait();
  process_status wait(std::error_code& error);

  /// Sends the child a signal. One that has ended gets none, which is no error; a signal never reaches another process.
  /// Never waits. A number that is no signal is std::errc::invalid_argument; a child that has become another user's
  /// operation_not_permitted.
  void kill(int signal);
  void kill(int signal, std::error_code& error);

  /// The child's number, for messages: once it has been waited for, the number may be another process's. -1: no process.
  [[nodiscard]] pid_t pid() const noexcept;

  /// Whether there is one: false after default construction and after having been moved from. True once it has ended,
  /// too.
  explicit operator bool() const noexcept { return child_ != nullptr; }

 private:
  static detail::process_request request(const std::vector<std::string>& argv, const process_options& how) {
    return {{argv.data(), argv.size()},
            {how.in, how.out, how.err},
            how.dir,
            {how.env.variables().data(), how.env.variables().size()},
            how.env.replaces()};
  }
  static detail::process_request request(const std::vector<std::string>& argv, const process_output_options& how) {
    return {{argv.data(), argv.size()},
            {null, pipe, pipe},
            how.dir,
            {how.env.variables().data(), how.env.variables().size()},
            how.env.replaces()};
  }
  static process begin(const detail::process_request& what, std::error_code* error);
  static void collect(const detail::process_request& what, process_output& result, std::error_code* error);

  explicit process(rt::child_process* started) noexcept : child_(started) {}
  net::fd& end_of(int which, std::error_code* error);
  void reset() noexcept {
    if (child_ != nullptr) release();
  }
  void release() noexcept;

  rt::child_process* child_ = nullptr;
};

}  // namespace v0
}  // namespace weft
