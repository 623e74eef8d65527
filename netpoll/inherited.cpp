// SPDX-License-Identifier: Apache-2.0
// Listeners that the service manager has opened for this process: the protocol of sd_listen_fds(3).
//
// The variables speak of the process whose id LISTEN_PID is. The first call reads, checks and removes them, and makes the
// descriptors close-on-exec: no program that this one starts takes them for its own. The numbers are kept for the calls
// that want their kind. Nothing is changed if the variables cannot be understood.
//
// Lock order: `lock` is a leaf. Nothing waits under it.
#include <weft/net/inherited.hpp>

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "netpoll/address.hpp"
#include "netpoll/adopt.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/open.hpp"

namespace weft {
namespace rt {

namespace {

constexpr int first_passed = 3;  // SD_LISTEN_FDS_START

constinit std::mutex lock;          // system calls and malloc under it
constinit std::vector<int> passed;  // under `lock`: the numbers that no call has wanted yet

/// Decimal digits and nothing else, up to `most`.
std::optional<int> number_in(std::string_view text, int most) noexcept {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size() && !text.starts_with('-');
  return whole && value <= most ? std::optional(value) : std::nullopt;
}

/// What is wrong with the variables, if anything.
struct refusal {
  failure why;
  std::string detail;
};

refusal no_number(const char* variable, const char* value) {
  return {{EINVAL}, std::string(variable) + " is " + quoted(value) + "; expected a decimal number"};
}

// Not locked against other threads' use of the environment: the header says so.
// NOLINTBEGIN(concurrency-mt-unsafe)
refusal read_environment() {
  const char* const process = std::getenv("LISTEN_PID");
  const char* const size = std::getenv("LISTEN_FDS");
  if (process == nullptr || size == nullptr) return {};
  const std::optional<int> pid = number_in(process, INT_MAX);
  if (!pid) return no_number("LISTEN_PID", process);
  if (*pid != getpid()) return {};
  const std::optional<int> count = number_in(size, INT_MAX - first_passed);
  if (!count) return no_number("LISTEN_FDS", size);
  for (int fd = first_passed; fd < first_passed + *count; ++fd) {
    if (format_now(fd) < 0)
      return {{EBADF},
              std::string("LISTEN_FDS is ") + size + ", and descriptor " + std::to_string(fd) + " is not open"};
  }
  passed.reserve(passed.size() + static_cast<std::size_t>(*count));
  for (int fd = first_passed; fd < first_passed + *count; ++fd) {
    set_close_on_exec_now(fd, true);
    passed.push_back(fd);
  }
  for (const char* const each : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"}) unsetenv(each);
  return {};
}
// NOLINTEND(concurrency-mt-unsafe)

/// Takes those of the role out of `passed`.
refusal take_numbers(socket_role role, std::vector<int>& numbers) {
  const std::lock_guard guard(lock);
  refusal no = read_environment();
  if (no.why) return no;
  std::erase_if(passed, [&](int fd) {
    const bool wanted = has_role(fd, role);
    if (wanted) numbers.push_back(fd);
    return wanted;
  });
  return {};
}

void put_back(const std::vector<int>& numbers) {
  const std::lock_guard guard(lock);
  passed.insert(passed.begin(), numbers.begin(), numbers.end());
}

/// All of them or none.
template <class Listener>
std::vector<Listener> adopt_all(const std::vector<int>& numbers, std::error_code* error) {
  std::vector<Listener> all;
  const auto undo = [&] {
    for (Listener& each : all) static_cast<void>(each.release());
    all.clear();
    put_back(numbers);
  };
  try {
    all.reserve(numbers.size());
    for (const int fd : numbers) all.emplace_back(net::from_fd, fd);
  } catch (const std::system_error& refused) {
    undo();
    if (error == nullptr) throw;
    *error = refused.code();
  } catch (...) {
    undo();
    throw;
  }
  return all;
}

template <class Listener>
void take(socket_role role, const char* call, void (*give)(void*, Listener&&), void* list, std::error_code* error) {
  need_runtime(call);
  std::vector<int> numbers;
  const refusal no = take_numbers(role, numbers);
  if (error != nullptr)
    *error = to_code(no.why);
  else if (no.why)
    raise(no.why, std::string(call) + ": " + no.detail);
  if (no.why) return;
  for (Listener& each : adopt_all<Listener>(numbers, error)) give(list, std::move(each));
}

}  // namespace
}  // namespace rt

inline namespace v0 {

using namespace rt;

void detail::take_inherited(void (*give)(void*, net::tcp_listener&&), void* list, std::error_code* error) {
  take(socket_role::tcp_listener, "inherited_listeners", give, list, error);
}

void detail::take_inherited(void (*give)(void*, net::unix_listener&&), void* list, std::error_code* error) {
  take(socket_role::unix_listener, "inherited_unix_listeners", give, list, error);
}

}  // namespace v0
}  // namespace weft
