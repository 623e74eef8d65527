// SPDX-License-Identifier: Apache-2.0
// The simulator as the library's seam sees it: one OS thread plays all threads of a program.
//
// Outside a simulation, and while something looks at the runtime from within one, nothing here switches.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sim {

using instant = std::int64_t;  ///< nanoseconds of the virtual clock

/// A point at which any thread may come next.
[[gnu::noinline]] void step() noexcept;
/// The same in a loop that waits for another thread: a pause instruction, and a call of sched_yield.
[[gnu::noinline]] void pause() noexcept;
[[gnu::noinline]] void spin() noexcept;

instant now() noexcept;
/// A number from the seed, 0 to n - 1.
std::uint32_t choose(std::uint32_t n) noexcept;

/// Sleeps while `still(word, expected)`, at most `timeout` (negative: no limit); may end for nothing.
void wait(const void* word, bool (*still)(const void* word, std::uint32_t expected), std::uint32_t expected,
          instant timeout) noexcept;
void wake(const void* word) noexcept;
/// A short sleep in a loop that waits for another thread.
void nap(instant time) noexcept;

/// What happens outside of every thread, as on a network: `f(arg)` is called when the clock has come to `when`, whoever
/// runs. Calls for the same moment come in the order in which they were asked for.
void at(instant when, void (*f)(void* arg), void* arg);
/// Makes one thread ready that sleeps on the word, or all of them, without a step of the caller's.
void wake_now(const void* word, bool all) noexcept;

struct task;
/// Returns an error number, as pthread_create does.
int start(task*& out, void* (*body)(void*), void* arg) noexcept;
void join(task* t) noexcept;
task* self() noexcept;
int id_of(const task* t) noexcept;
void name_self(const char* name) noexcept;  ///< which is not copied
instant cpu_of(const task* t) noexcept;     ///< -1: it has ended
bool is_asleep(int id) noexcept;

bool membarrier() noexcept;
/// Whether memory for stacks is to be had now, `size` bytes more of it.
bool memory(std::size_t size) noexcept;

/// What belongs to the calling thread: thread-locals of the runtime, each in its slot.
enum class slot_of : unsigned { machine, stand_in, random };
void*& slot(slot_of which) noexcept;
/// A POSIX key's value: `destroy(value)` is called at the thread's end, in the order of these calls, as are those that
/// are added meanwhile.
void at_thread_end(void (*destroy)(void*), void* value) noexcept;

}  // namespace sim
