// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/kernel/file.hpp"

#include <algorithm>

#include "tests/sim/kernel/epoll.hpp"
#include "tests/sim/kernel/troubles.hpp"

namespace sim::kernel {

namespace {

constexpr int first_number = 3;

std::vector<file*> table;  // from the first number on; null: free

std::size_t place_of(int number) noexcept { return static_cast<std::size_t>(number - first_number); }

std::size_t lowest_free() noexcept {
  return static_cast<std::size_t>(std::find(table.begin(), table.end(), nullptr) - table.begin());
}

void leave(file* f) noexcept {
  if (--f->users > 0) return;
  forget(f);
  f->release();
}

}  // namespace

int say(int error) noexcept {
  errno = error;
  return -1;
}
ssize_t said(ssize_t result) noexcept { return result < 0 ? say(static_cast<int>(-result)) : result; }

file* file_at(int number) noexcept {
  return number < first_number || place_of(number) >= table.size() ? nullptr : table[place_of(number)];
}

bool number_is_free() noexcept { return lowest_free() < static_cast<std::size_t>(trouble().most_files); }

int give_number(file* f, bool nonblocking) noexcept {
  if (!number_is_free()) return -EMFILE;
  const std::size_t i = lowest_free();
  if (i == table.size()) table.push_back(nullptr);
  table[i] = f;
  f->nonblocking = nonblocking;
  ++f->users;
  return static_cast<int>(i) + first_number;
}

void take_number(int number) noexcept {
  file* const f = table[place_of(number)];
  table[place_of(number)] = nullptr;
  leave(f);
}

int open_files() noexcept {
  return static_cast<int>(std::count_if(table.begin(), table.end(), [](file* f) { return f != nullptr; }));
}

in_use::~in_use() { leave(f_); }

void notify(file* f, std::uint32_t what) noexcept {
  for (item* i : f->items) arrive(i, what);
  wake_now(f, true);
}

int wait_for(file* f, std::uint32_t what) noexcept {
  const in_use here(f);
  while ((f->state() & (what | EPOLLERR | EPOLLHUP)) == 0) {
    if (one_in(trouble().interrupted_one_in)) return EINTR;
    // `notify` wakes the file; the question is asked after the step of `wait`.
    sim::wait(
        f,
        [](const void* word, std::uint32_t expected) {
          return (static_cast<file*>(const_cast<void*>(word))->state() & (expected | EPOLLERR | EPOLLHUP)) == 0;
        },
        what, -1);
  }
  return 0;
}

}  // namespace sim::kernel
