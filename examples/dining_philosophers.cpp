// SPDX-License-Identifier: Apache-2.0
// Five philosophers, five forks, two of which each needs to eat: mutexes, a semaphore, and why nobody starves.
//
// Each takes the fork to his left and then the one to his right, so five who hold a left fork could wait for each other
// for ever. The table has four seats: of four philosophers between five forks one always finds his right fork free. He
// eats and lays both down, his neighbour goes on, and so on round the table: there is no deadlock. Nor does anybody
// starve: the semaphore seats them in the order in which they came, and a mutex is handed to whoever has waited for it
// longer than a millisecond.
#include <array>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <mutex>

#include <weft/weft.hpp>

namespace {

constexpr int philosophers = 5;
constexpr int meals = 1000;

struct table {
  weft::semaphore seats{philosophers - 1};
  std::array<weft::mutex, philosophers> forks;
};

/// A seat, until the end of the block: also if an exception leaves it.
class seat {
 public:
  explicit seat(weft::semaphore& seats) : seats_(seats) { seats_.acquire(); }
  ~seat() { seats_.release(); }
  seat(const seat&) = delete;
  seat& operator=(const seat&) = delete;

 private:
  weft::semaphore& seats_;
};

int dine(table& t, int place) {
  weft::mutex& left = t.forks[static_cast<std::size_t>(place)];
  weft::mutex& right = t.forks[static_cast<std::size_t>((place + 1) % philosophers)];
  int eaten = 0;
  for (; eaten < meals; ++eaten) {
    const seat mine(t.seats);
    const std::lock_guard first(left);
    weft::yield();  // leaves the others time to take theirs: without the seats this would be the end
    const std::lock_guard second(right);
    weft::yield();
  }
  return eaten;
}

int dinner() {
  table t;
  weft::scope s;
  std::array<int, philosophers> eaten{};
  for (int place = 0; place < philosophers; ++place)
    s.go([&, place] { eaten[static_cast<std::size_t>(place)] = dine(t, place); });
  s.join();
  int sum = 0;
  for (const int n : eaten) sum += n;
  std::printf("%d meals, and nobody starved\n", sum);
  return sum == philosophers * meals ? 0 : 1;
}

}  // namespace

int main() {
  try {
    return weft::run(dinner);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "dining_philosophers: %s\n", e.what());
    return 2;
  }
}
