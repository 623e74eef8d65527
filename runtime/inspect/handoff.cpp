// SPDX-License-Identifier: Apache-2.0
// The monitor calls, from one thread, so the list of places needs no lock. A burning fiber has no place: its thread is
// not in the kernel, and nobody interrupts it to ask; it is named once by its spawn site.
#include "runtime/inspect/handoff.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <new>
#include <string>

#include <weft/detail/atomic.hpp>

#include "runtime/inspect/fiber_snapshot.hpp"
#include "runtime/inspect/racy_load.hpp"
#include "runtime/inspect/symbols.hpp"
#include "runtime/sched/upcalls.hpp"

namespace weft::rt {

namespace {

bool named = false;  // set before the monitor starts
// Relaxed: one writer, and readers want figures.
constinit detail::atomic<std::int64_t> blocked{0}, announced{0}, burned{0};

constexpr std::size_t max_places = 1024;
std::array<std::uintptr_t, max_places> places;
std::size_t place_count = 0;

void bump(detail::atomic<std::int64_t>& counter) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

bool is_new_place(std::uintptr_t pc) noexcept {
  const auto end = places.begin() + static_cast<std::ptrdiff_t>(place_count);
  if (place_count == max_places || std::find(places.begin(), end, pc) != end) return false;
  places[place_count++] = pc;
  return true;
}

std::string who(const fiber_snapshot& fiber) {
  std::string text = "weft: fiber " + std::to_string(fiber.id);
  if (fiber.name[0] != '\0') text.append(" '").append(fiber.name).append("'");
  return text;
}

std::string spawned_at(const fiber_snapshot& fiber) {
  return "spawned at " + name_return_address(reinterpret_cast<std::uintptr_t>(fiber.spawn_site)).place;
}

void name_it(const M& m, handoff what_it_did, nanoseconds_t silent) {
  const G* const g = racy_load(m.cur);
  fiber_snapshot fiber;
  if (g == nullptr || !look_at_fiber(*g, fiber)) return;
  char how_long[32];
  std::snprintf(how_long, sizeof how_long, "%.2f ms", static_cast<double>(silent) / 1e6);
  if (what_it_did == handoff::burned) {
    if (is_new_place(reinterpret_cast<std::uintptr_t>(fiber.spawn_site)))
      std::fprintf(stderr, "%s, %s, has computed for %s without a wait or a yield: call weft::yield() now and then\n",
                   who(fiber).c_str(), spawned_at(fiber).c_str(), how_long);
    return;
  }
  const blocked_call call = find_blocked_call(m.tid.load(std::memory_order_relaxed), g->load_stack());
  if (call.number < 0 ||
      !is_new_place(call.called_from != 0 ? call.called_from : reinterpret_cast<std::uintptr_t>(fiber.spawn_site)))
    return;
  const std::string what =
      call.name != nullptr ? std::string(call.name) + "(2)" : "system call " + std::to_string(call.number);
  const std::string where =
      call.called_from != 0 ? "at " + name_return_address(call.called_from).place : spawned_at(fiber);
  std::fprintf(stderr, "%s has blocked its thread for %s in %s %s: use weft's own call, or wrap it in weft::blocking\n",
               who(fiber).c_str(), how_long, what.c_str(), where.c_str());
}

}  // namespace

void configure_handoff_notes(const debug_settings& how) noexcept {
  named = how.handoffs != 0;
  place_count = 0;
}

void note_handoff(const M& m, handoff what, nanoseconds_t silent) noexcept {
  const bool was_announced = m.blocking_now.load(std::memory_order_relaxed);
  bump(what == handoff::blocked ? blocked : burned);
  if (was_announced) bump(announced);
  if (!named || was_announced || what == handoff::waited_for_a_cpu) return;
  try {
    name_it(m, what, silent);
  } catch (const std::bad_alloc&) {
    std::fputs("weft: no memory to name a fiber that blocks its thread\n", stderr);
  }
}

handoff_counts count_handoffs() noexcept {
  return {blocked.load(std::memory_order_relaxed), announced.load(std::memory_order_relaxed),
          burned.load(std::memory_order_relaxed)};
}

}  // namespace weft::rt
