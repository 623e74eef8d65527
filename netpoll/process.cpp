// SPDX-License-Identifier: Apache-2.0
// The public calls on processes, in their two forms.
#include <weft/process.hpp>

#include <string.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>

#include <weft/error.hpp>
#include <weft/scope.hpp>

#include "netpoll/address.hpp"
#include "netpoll/child_process.hpp"
#include "netpoll/child_start.hpp"
#include "netpoll/failure.hpp"
#include "netpoll/open.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

constexpr failure no_process{ESRCH};

/// Throws the failure, with the message "weft::process: VERB "NAME" DETAIL"; or stores its code.
void report(const failure& why, std::error_code* error, const char* verb, const std::string& name,
            const std::string& detail) {
  if (error != nullptr) {
    *error = to_code(why);
    return;
  }
  if (!why) return;
  if (why.cancelled) throw_cancelled();
  throw std::system_error(
      to_code(why), std::string("weft::process: ") + verb + ' ' + quoted(name) + (detail.empty() ? "" : ": " + detail));
}

void report(const failure& why, std::error_code* error, const char* verb, const child_process* c,
            const char* detail = "") {
  report(why, error, verb, c != nullptr ? c->name : std::string(), c != nullptr ? detail : "there is no process");
}

std::string name_in(const detail::process_request& what) { return what.argv.empty() ? "" : what.argv.front(); }

started_child start_for(const detail::process_request& what) {
  need_runtime("starting a process");
  return start_child(what);
}

failure read_to_end(net::fd& from, std::string& to) {
  constexpr std::size_t room = std::size_t{32} << 10;
  const auto buffer = std::make_unique_for_overwrite<char[]>(room);
  std::error_code error;
  while (const std::size_t n = from.read_some(std::span(buffer.get(), room), error)) to.append(buffer.get(), n);
  return {error.value(), error == std::errc::operation_canceled};
}

/// Both at once: a child that fills one pipe while the other is read would wait for ever.
failure read_both(child_process& c, process_output& result) {
  const quiet_region until_it_is_told;
  failure out, err;
  try {
    scope readers;
    readers.go([&] { err = read_to_end(c.streams[2], result.err); });
    out = read_to_end(c.streams[1], result.out);
    if (out) readers.cancel();
    readers.join();
  } catch (const cancelled&) {
    return {ECANCELED, true};
  } catch (const std::system_error& no_fiber) {
    return {no_fiber.code().value()};
  } catch (const std::logic_error&) {  // the runtime ends, and this is a plain thread
    return {ECANCELED};
  }
  return out ? out : err;
}

}  // namespace

std::string process_status::to_string() const {
  if (!ended_) return "has not ended";
  if (exited()) return "exit code " + std::to_string(code());
  const char* const name = sigabbrev_np(signal());
  std::string text = "signal " + std::to_string(signal());
  if (name != nullptr) text += std::string(" (SIG") + name + ')';
  constexpr int core_dumped = 0x80;
  if ((wait_status_ & core_dumped) != 0) text += ", core dumped";
  return text;
}

process process::begin(const detail::process_request& what, std::error_code* error) {
  started_child started = start_for(what);
  report(started.why, error, "start", name_in(what), started.detail);
  return process(started.child.release());
}

void process::collect(const detail::process_request& what, process_output& result, std::error_code* error) {
  started_child started = start_for(what);
  report(started.why, error, "start", name_in(what), started.detail);
  if (started.why) return;
  child_process& c = *started.child;
  failure why = read_both(c, result);
  if (!why) result.status = await_end(c, why);
  report(why, error, "output of", &c);
}

net::fd& process::end_of(int which, std::error_code* error) {
  static net::fd none;
  constexpr const char* names[] = {"in() of", "out() of", "err() of"};
  constexpr const char* cures[] = {"it is no pipe (start it with {.in = process::pipe})",
                                   "it is no pipe (start it with {.out = process::pipe})",
                                   "it is no pipe (start it with {.err = process::pipe})"};
  failure why = child_ == nullptr ? no_process : failure{};
  if (!why && !child_->streams[which]) why = {EBADF};
  report(why, error, names[which], child_, cures[which]);
  return child_ != nullptr ? child_->streams[which] : none;
}

static constexpr const char* how_it_was_lost =
    "its status is lost: something else has reaped it (SIGCHLD is ignored, or a handler waits for any child; give "
    "SIGCHLD "
    "its default action)";

static process_status wait_for(child_process* c, std::error_code* error) {
  failure why = no_process;
  const process_status status = c != nullptr ? await_end(*c, why) : process_status();
  report(why, error, "wait for", c, why.error == ECHILD ? how_it_was_lost : "");
  return status;
}

process_status process::wait() { return wait_for(child_, nullptr); }
process_status process::wait(std::error_code& error) { return wait_for(child_, &error); }

static void kill_with(child_process* c, int signal, std::error_code* error) {
  const failure why = c != nullptr ? send_signal(*c, signal) : no_process;
  report(why, error, ("signal " + std::to_string(signal) + " to").c_str(), c,
         why.error == EINVAL ? "there is no such signal" : "");
}

void process::kill(int signal) { kill_with(child_, signal, nullptr); }
void process::kill(int signal, std::error_code& error) { kill_with(child_, signal, &error); }

pid_t process::pid() const noexcept { return child_ != nullptr ? child_->pid : -1; }

void process::release() noexcept {
  end_and_delete(child_);
  child_ = nullptr;
}

}  // namespace v0
}  // namespace weft
