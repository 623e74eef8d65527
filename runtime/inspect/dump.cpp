// SPDX-License-Identifier: Apache-2.0
// One pass over all Gs in the order of their ids: each is copied, and joins the group of those that look alike. Then
// the groups are printed, each with the headers of its first fibers, the ids of all, and one stack.
#include "runtime/inspect/dump.hpp"

#include <pthread.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/fiber/overflow.hpp"
#include "runtime/inspect/fiber_snapshot.hpp"
#include "runtime/inspect/symbols.hpp"
#include "runtime/sched/all_g.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/signal_mask.hpp"
#include "runtime/sched/thread_g.hpp"

namespace weft::rt {

namespace {

constexpr std::size_t headers_a_group = 20;
constexpr std::size_t max_groups = 4096;  // a snapshot is almost a kilobyte
constexpr nanoseconds_t minute = 60'000'000'000;

struct caller {
  const G* fiber = nullptr;  // null: a plain thread
  frame_list frames;
};

[[gnu::noinline]] void describe(caller& self) noexcept {
  self.fiber = current_fiber();
  if (self.fiber != nullptr) unwind_own_stack(self.frames);
}

// --- one fiber ---

std::string name_of(const fiber_snapshot& fiber) {
  std::string text = "fiber " + std::to_string(fiber.id);
  if (fiber.name[0] != '\0') text.append(" \"").append(fiber.name).append("\"");
  return text;
}

std::string header_of(const fiber_snapshot& fiber, nanoseconds_t now) {
  std::string text = name_of(fiber) + " [";
  switch (fiber.state) {
    case fiber_state::running:
      text += fiber.blocking ? "running, in blocking(f)" : "running";
      break;
    case fiber_state::runnable:
    case fiber_state::unstarted:
      text += "runnable";
      break;
    case fiber_state::waiting:
      text += to_string(fiber.reason);
      if (now - fiber.since >= minute) text += ", " + std::to_string((now - fiber.since) / minute) + " minutes";
      break;
  }
  if (fiber.locked_to_thread) text += ", locked to thread";
  return text + "]";
}

// The part of a demangled name that says whose function it is, past a template's return type.
bool belongs_to_runtime(std::string_view function) noexcept {
  if (function == "make_fcontext" || function == "jump_fcontext") return true;
  const std::string_view head = function.substr(0, function.find_first_of("(<"));
  const std::size_t space = head.rfind(' ');
  const std::string_view qualified = space != std::string_view::npos ? head.substr(space + 1) : head;
  if (qualified.starts_with("weft::rt::")) return true;
  // Templates of that namespace have the user's code in them, inlined.
  const bool is_template = head.size() < function.size() && function[head.size()] == '<';
  return qualified.starts_with("weft::detail::") && !is_template;
}

bool throws(std::string_view function) noexcept {
  return function == "__cxa_throw" || function == "__cxa_rethrow" ||
         function == "std::rethrow_exception(std::__exception_ptr::exception_ptr)";
}

/// Returns true if `callee` is the closure's own code, which then needs no second line.
bool shows(const code_name& callee, const std::string& closure) noexcept {
  return std::string_view(callee.function).starts_with(closure);
}

void print_frames(std::FILE* out, const frame_list& frames) {
  std::vector<code_name> names;
  names.reserve(frames.size());
  unsigned first = 0;  // what runs on top of a throw, to end the process, is of no interest
  bool any_of_users = false;
  const code_name* callee = nullptr;  // the nearest one that is no wrapper, or stands for what it is around
  for (unsigned i = 0; i < frames.size(); ++i) {
    code_name name = name_return_address(frames[i]);
    if (name.wrapper && (name.function.empty() || (callee != nullptr && shows(*callee, name.function))))
      name.place.clear();
    names.push_back(std::move(name));
    if (throws(names.back().function)) first = i + 1;
    if (names.back().place.empty()) continue;
    callee = &names.back();
    any_of_users = any_of_users || !belongs_to_runtime(callee->function);
  }
  for (unsigned i = first; i < frames.size(); ++i) {
    if (i == frame_list::kept_at_each_end && frames.left_out() != 0)
      std::fprintf(out, "    ... %u frames left out ...\n", frames.left_out());
    if (names[i].place.empty() || (any_of_users && belongs_to_runtime(names[i].function))) continue;
    std::fprintf(out, "    %s\n", names[i].place.c_str());
  }
}

void print_running(std::FILE* out, const fiber_snapshot& fiber, const stack* on) {
  if (fiber.thread == 0) {
    std::fputs("    (on its way between threads)\n", out);
    return;
  }
  std::fprintf(out, "    (on thread %d: its stack cannot be read from here)\n", static_cast<int>(fiber.thread));
  const blocked_call call = find_blocked_call(fiber.thread, on);
  if (call.number < 0) return;
  const std::string what =
      call.name != nullptr ? std::string(call.name) + "(2)" : "system call " + std::to_string(call.number);
  const std::string where = call.called_from != 0 ? ", called at " + name_return_address(call.called_from).place : "";
  std::fprintf(out, "    in %s%s\n", what.c_str(), where.c_str());
}

void print_body(std::FILE* out, const fiber_snapshot& fiber, const G& g, const caller& self) {
  if (&g == self.fiber)
    print_frames(out, self.frames);
  else if (fiber.state == fiber_state::running)
    print_running(out, fiber, g.load_stack());
  else if (fiber.state == fiber_state::unstarted)
    std::fputs("    (has not started)\n", out);
  else
    print_frames(out, fiber.frames);
  if (fiber.spawn_site != nullptr)
    std::fprintf(out, "  spawned at %s\n",
                 name_return_address(reinterpret_cast<std::uintptr_t>(fiber.spawn_site)).place.c_str());
}

// --- all of them ---

struct group {
  fiber_snapshot first;
  const G* g;
  std::vector<std::string> headers;  // of the first so many
  std::vector<std::uint64_t> ids;    // of all, in order
};

// The innermost frame of a fiber that is off its CPU is the scheduler's, and a matter of where it went from there.
constexpr unsigned own_frame = 1;

std::uint64_t key_of(const fiber_snapshot& fiber) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&hash](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3; };
  mix(static_cast<std::uint64_t>(fiber.state));
  mix(static_cast<std::uint64_t>(fiber.reason));
  mix(reinterpret_cast<std::uintptr_t>(fiber.spawn_site));
  mix(fiber.frames.left_out());
  for (unsigned i = own_frame; i < fiber.frames.size(); ++i) mix(fiber.frames[i]);
  return hash;
}

bool alike(const fiber_snapshot& a, const fiber_snapshot& b) noexcept {
  if (a.state != b.state || a.reason != b.reason || a.spawn_site != b.spawn_site) return false;
  if (a.frames.size() != b.frames.size() || a.frames.left_out() != b.frames.left_out()) return false;
  for (unsigned i = own_frame; i < a.frames.size(); ++i)
    if (a.frames[i] != b.frames[i]) return false;
  return true;
}

void print_ids(std::FILE* out, const std::vector<std::uint64_t>& ids, std::size_t from) {
  std::fprintf(out, "and %zu more:", ids.size() - from);
  for (std::size_t i = from; i < ids.size();) {
    std::size_t last = i;
    while (last + 1 < ids.size() && ids[last + 1] == ids[last] + 1) ++last;
    std::fprintf(out, last == i ? " %llu" : " %llu-%llu", static_cast<unsigned long long>(ids[i]),
                 static_cast<unsigned long long>(ids[last]));
    i = last + 1;
  }
  std::fputc('\n', out);
}

class fiber_census {
 public:
  fiber_census(std::FILE* out, const caller& self) noexcept : out_(out), self_(self), now_(steady_now()) {}

  void add(const G& g) {
    if (!look_at_fiber(g, snapshot_)) return;
    ++fibers_;
    const bool alone = snapshot_.state == fiber_state::running;
    const std::uint64_t key = key_of(snapshot_);
    if (const auto known = by_key_.find(key);
        !alone && known != by_key_.end() && alike(groups_[known->second].first, snapshot_)) {
      groups_[known->second].ids.push_back(snapshot_.id);
      if (groups_[known->second].headers.size() < headers_a_group)
        groups_[known->second].headers.push_back(header_of(snapshot_, now_));
      return;
    }
    if (groups_.size() == max_groups) {
      std::fprintf(out_, "%s:\n", header_of(snapshot_, now_).c_str());
      print_body(out_, snapshot_, g, self_);
      return;
    }
    if (!alone) by_key_.emplace(key, groups_.size());
    groups_.push_back({snapshot_, &g, {header_of(snapshot_, now_)}, {snapshot_.id}});
  }

  void print() const {
    for (const group& same : groups_) {
      for (const std::string& header : same.headers) std::fprintf(out_, "%s:\n", header.c_str());
      if (same.ids.size() > same.headers.size()) print_ids(out_, same.ids, same.headers.size());
      if (same.ids.size() > 1) std::fprintf(out_, "  (%zu fibers with this stack)\n", same.ids.size());
      print_body(out_, same.first, *same.g, self_);
      std::fputc('\n', out_);
    }
  }

  std::size_t fibers() const noexcept { return fibers_; }

 private:
  std::FILE* out_;
  const caller& self_;
  nanoseconds_t now_;
  fiber_snapshot snapshot_;
  std::size_t fibers_ = 0;
  std::vector<group> groups_;
  std::unordered_map<std::uint64_t, std::size_t> by_key_;
};

void print_waiting_threads(std::FILE* out) noexcept {
  for_each_thread_g(
      [](G& g, void* to) {
        const wait_reason why = g.reason.load(std::memory_order_relaxed);
        if (why == wait_reason::none || !g.wait.is_open()) return;
        std::fprintf(static_cast<std::FILE*>(to), "a plain thread [%s]\n", to_string(why));
      },
      out);
}

void dump_all(std::FILE* out, const caller& self) {
  std::vector<std::pair<std::uint64_t, const G*>> by_id;
  for_each_g([&](const G& g) {
    if (const std::uint64_t id = g.id.load(std::memory_order_relaxed); id != 0) by_id.emplace_back(id, &g);
  });
  std::sort(by_id.begin(), by_id.end());
  fiber_census census(out, self);
  for (const auto& [id, g] : by_id) census.add(*g);
  census.print();
  print_waiting_threads(out);
  const int procs = sched.procs.load(std::memory_order_acquire);
  if (procs == 0) {
    std::fputs("weft: no runtime runs\n", out);
    return;
  }
  std::fprintf(out, "weft: %zu %s, maxprocs %d\n", census.fibers(), census.fibers() == 1 ? "fiber" : "fibers", procs);
  if (!overflow_handler_installed())
    std::fputs("weft: another handler of SIGSEGV has taken the place of weft's: a stack overflow will not be named\n",
               out);
}

void dump_one(std::FILE* out, const caller& self) {
  fiber_snapshot snapshot;
  if (self.fiber == nullptr || !look_at_fiber(*self.fiber, snapshot)) return;
  std::fprintf(out, "%s:\n", header_of(snapshot, steady_now()).c_str());
  print_body(out, snapshot, *self.fiber, self);
}

// --- where it is done ---

struct task {
  void (*print)(std::FILE*, const caller&);
  std::FILE* out;
  const caller& self;

  void run() const noexcept {
    flockfile(out);  // two dumps at a time are two dumps, not a mixture
    try {
      print(out, self);
    } catch (const std::bad_alloc&) {
      std::fputs("weft: no memory for the rest of this dump\n", out);
    }
    std::fflush(out);
    funlockfile(out);
  }
};

void perform(const task& what) noexcept {
  if (what.self.fiber != nullptr) {
    pthread_t helper;
    const auto body = [](void* arg) -> void* {
      block_foreign_signals();
      static_cast<const task*>(arg)->run();
      return nullptr;
    };
    if (pthread_create(&helper, nullptr, body, const_cast<task*>(&what)) == 0) {
      pthread_join(helper, nullptr);
      return;
    }
  }
  what.run();
}

}  // namespace

[[gnu::noinline]] void dump_everything(std::FILE* out) noexcept {
  caller self;
  describe(self);
  perform({dump_all, out, self});
}

[[gnu::noinline]] void dump_caller(std::FILE* out) noexcept {
  caller self;
  describe(self);
  if (self.fiber != nullptr) perform({dump_one, out, self});
}

std::string describe_caller() {
  const G* const g = current_fiber();
  fiber_snapshot snapshot;
  return g != nullptr && look_at_fiber(*g, snapshot) ? name_of(snapshot) : "a plain thread";
}

}  // namespace weft::rt
