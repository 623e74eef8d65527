// SPDX-License-Identifier: Apache-2.0
//
// Settles `options` with the environment. Numbers are read with from_chars: no locale, no sign, no space, no "0x", and
// nothing may follow; strtol and stoi let "4 cpus" and " 4" pass, and a typo would go unnoticed.
//
// All variables are parsed, also those that a member overrides: a typo is found where it was made, not on the day when
// the program stops setting the member.

#include "runtime/config/options.hpp"

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "runtime/base/limits.hpp"
#include "runtime/config/cpu_width.hpp"

namespace weft::rt {
namespace {

constexpr std::string_view width_accepted = "expected a whole number from 1 to 1024";
constexpr std::string_view stack_size_accepted =
    "expected a size from 16384 bytes (16K) to 1073741824 bytes (1024M), such as 262144, 256K or 1M";

static_assert(max_width == 1024 && min_stack_size == 16384 && max_stack_size == 1073741824, "the texts above say so");

[[noreturn]] void reject(std::string_view what, std::string_view separator, std::string_view value,
                         std::string_view accepted) {
  std::string text;
  text.append(what).append(separator).append(value).append(": ").append(accepted);
  throw std::invalid_argument(text);
}

[[noreturn]] void reject_variable(std::string_view name, std::string_view value, std::string_view accepted) {
  reject(name, "=", value, accepted);
}

[[noreturn]] void reject_member(std::string_view name, std::string_view value, std::string_view accepted) {
  reject(name, " = ", value, accepted);
}

// An empty variable counts as unset: `WEFT_MAXPROCS= ./program` is how a shell user takes one back.
std::optional<std::string_view> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string_view(value);
}

std::optional<std::uint64_t> whole_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<std::uint64_t> whole_number_between(std::string_view text, std::uint64_t low, std::uint64_t high) {
  const auto number = whole_number(text);
  if (!number || *number < low || *number > high) return std::nullopt;
  return number;
}

// Only K and M, only in upper case: "256k" is 256000 to some tools and 262144 to others.
std::optional<std::uint64_t> byte_count(std::string_view text) {
  unsigned shift = 0;
  if (!text.empty() && text.back() == 'K') shift = 10;
  if (!text.empty() && text.back() == 'M') shift = 20;
  if (shift != 0) text.remove_suffix(1);
  // The bound before the shift keeps the shift from wrapping into the accepted range.
  const auto number = whole_number_between(text, 0, max_stack_size);
  if (!number) return std::nullopt;
  return *number << shift;
}

std::optional<int> width_variable() {
  constexpr const char* name = "WEFT_MAXPROCS";
  const auto value = variable(name);
  if (!value) return std::nullopt;
  const auto width = whole_number_between(*value, 1, max_width);
  if (!width) reject_variable(name, *value, width_accepted);
  return static_cast<int>(*width);
}

std::optional<std::size_t> stack_size_variable() {
  constexpr const char* name = "WEFT_STACK_SIZE";
  const auto value = variable(name);
  if (!value) return std::nullopt;
  const auto bytes = byte_count(*value);
  if (!bytes || *bytes < min_stack_size || *bytes > max_stack_size) reject_variable(name, *value, stack_size_accepted);
  return static_cast<std::size_t>(*bytes);
}

std::optional<netpoll_backend> netpoll_variable() {
  constexpr const char* name = "WEFT_NETPOLL";
  const auto value = variable(name);
  if (!value) return std::nullopt;
  if (*value == "auto") return netpoll_backend::automatic;
  if (*value == "epoll") return netpoll_backend::epoll;
  if (*value == "io_uring") return netpoll_backend::io_uring;
  reject_variable(name, *value, "expected auto, epoll or io_uring");
}

struct debug_word {
  std::string_view name;
  int highest;
  int debug_settings::*setting;
  std::string_view usage;
};

constexpr int milliseconds_of_a_day = 24 * 60 * 60 * 1000;

constexpr debug_word debug_words[] = {
    {"schedtrace", milliseconds_of_a_day, &debug_settings::schedtrace_ms, "schedtrace=0..86400000 (milliseconds)"},
    {"scheddetail", 1, &debug_settings::scheddetail, "scheddetail=0..1"},
    {"handoffs", 1, &debug_settings::handoffs, "handoffs=0..1"},
    {"netpoll", 1, &debug_settings::netpoll, "netpoll=0..1"},
};

[[noreturn]] void reject_debug(std::string_view whole, std::string_view wrong) {
  std::string accepted;
  accepted.append("'").append(wrong).append("' is not known; expected, separated by commas: ");
  const char* separator = "";
  for (const debug_word& word : debug_words) {
    accepted.append(separator).append(word.usage);
    separator = ", ";
  }
  reject_variable("WEFT_DEBUG", whole, accepted);
}

void apply_debug_word(debug_settings& settings, std::string_view whole, std::string_view part) {
  const std::size_t equals = part.find('=');
  if (equals == std::string_view::npos) reject_debug(whole, part);
  for (const debug_word& word : debug_words) {
    if (word.name != part.substr(0, equals)) continue;
    const auto number = whole_number_between(part.substr(equals + 1), 0, static_cast<std::uint64_t>(word.highest));
    if (!number) reject_debug(whole, part);
    settings.*word.setting = static_cast<int>(*number);
    return;
  }
  reject_debug(whole, part);
}

debug_settings debug_variable() {
  debug_settings settings;
  const auto value = variable("WEFT_DEBUG");
  if (!value) return settings;
  std::string_view rest = *value;
  for (;;) {
    const std::size_t comma = rest.find(',');
    apply_debug_word(settings, *value, rest.substr(0, comma));
    if (comma == std::string_view::npos) return settings;
    rest.remove_prefix(comma + 1);
  }
}

void resolve_netpoll(resolved_options& resolved, netpoll_backend asked) {
  const auto from_variable = netpoll_variable();
  switch (asked) {
    case netpoll_backend::epoll:
    case netpoll_backend::io_uring:
      resolved.netpoll = asked;
      resolved.netpoll_source = "options::netpoll = netpoll_backend::io_uring";
      return;
    case netpoll_backend::automatic:
      resolved.netpoll = from_variable.value_or(netpoll_backend::automatic);
      resolved.netpoll_source = "WEFT_NETPOLL=io_uring";
      return;
  }
  reject_member("options::netpoll", std::to_string(static_cast<int>(asked)),
                "expected a named value of netpoll_backend (automatic, epoll, io_uring)");
}

deadlock_policy resolve_deadlock(deadlock_policy asked) {
  switch (asked) {
    case deadlock_policy::automatic:
    case deadlock_policy::fatal:
    case deadlock_policy::off:
      return asked;
  }
  reject_member("options::deadlock", std::to_string(static_cast<int>(asked)),
                "expected a named value of deadlock_policy (automatic, fatal, off)");
}

void resolve_width(resolved_options& resolved, int asked) {
  const auto from_variable = width_variable();
  if (asked != 0) {
    if (asked < 1 || asked > max_width) {
      reject_member("options::maxprocs", std::to_string(asked),
                    std::string(width_accepted) + ", or 0 for what the machine grants");
    }
    resolved.maxprocs = asked;
  } else if (from_variable) {
    resolved.maxprocs = *from_variable;
  } else {
    resolved.maxprocs = cpu_width();
    resolved.maxprocs_follows_machine = true;
  }
}

std::size_t resolve_stack_size(std::size_t asked) {
  const auto from_variable = stack_size_variable();
  if (asked == 0) return from_variable.value_or(standard_stack_size);
  if (asked < min_stack_size || asked > max_stack_size) {
    reject_member("options::stack_size", std::to_string(asked),
                  std::string(stack_size_accepted) + ", or 0 for the default");
  }
  return asked;
}

}  // namespace

int check_width(const char* what, int width) {
  if (width < 1 || width > max_width) reject_member(what, std::to_string(width), width_accepted);
  return width;
}

std::size_t check_stack_size(const char* what, std::size_t bytes) {
  if (bytes < min_stack_size || bytes > max_stack_size) reject_member(what, std::to_string(bytes), stack_size_accepted);
  return bytes;
}

resolved_options resolve(const options& asked) {
  resolved_options resolved;
  resolve_width(resolved, asked.maxprocs);
  resolved.stack_size = resolve_stack_size(asked.stack_size);
  if (asked.max_threads < 1) {
    reject_member("options::max_threads", std::to_string(asked.max_threads), "expected a whole number of 1 or more");
  }
  if (asked.pin_main && asked.max_threads < 2) {
    reject_member(
        "options::max_threads", std::to_string(asked.max_threads),
        "expected 2 or more with pin_main, whose thread runs main alone: one that blocks its thread would stop "
        "main, too");
  }
  resolved.max_threads = asked.max_threads;
  resolved.max_fibers = asked.max_fibers;
  resolved.pin_main = asked.pin_main;
  resolved.deadlock = resolve_deadlock(asked.deadlock);
  if (asked.shutdown_grace < std::chrono::nanoseconds::zero()) {
    reject_member("options::shutdown_grace", std::to_string(asked.shutdown_grace.count()) + " ns",
                  "expected a duration of 0 or more");
  }
  resolved.shutdown_grace = asked.shutdown_grace;
  resolved.debug = debug_variable();
  resolve_netpoll(resolved, asked.netpoll);
  return resolved;
}

}  // namespace weft::rt
