// SPDX-License-Identifier: Apache-2.0
// The slow half of the internal lock. Between two looks at it there are ever more pauses: each look takes the cache
// line from the holder, which usually comes back for the same lock at once and goes through with a few operations
// undisturbed (four producers and four consumers of one channel on two CPUs: 25 ns an item with a look after each
// pause, 19.5 so). After 92 pauses the holder is probably not running: yield, and if yielding does not help (a
// real-time thread yields to nobody of lower rank) sleep 50 µs at a time.
#include <weft/detail/spin_lock.hpp>

#include <sched.h>
#include <time.h>

#include <algorithm>

#include "runtime/base/atomics.hpp"
#include "runtime/base/fatal.hpp"
#include "runtime/base/os.hpp"
#include "runtime/base/user_code.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

void spin_lock::lock_slow() noexcept {
  if (rt::lock_over_user_code == this)
    rt::fatal(
        "weft::chan: the move constructor or destructor of an element uses the channel that moves it, which is locked "
        "meanwhile; let it touch no channel");
  constexpr int yields = 20;
  constexpr int most_pauses = 32;
  int pauses = 4, spins = 0, turns = 0;
  for (;;) {
    if (word_.load(std::memory_order_relaxed) == 0 && word_.exchange(1, std::memory_order_acquire) == 0) return;
    if (spins < 5) {  // 4, 8, 16, 32, 32
      ++spins;
      for (int i = 0; i < pauses; ++i) rt::std_atomics::pause();
      pauses = std::min(2 * pauses, most_pauses);
    } else if (turns < yields) {
      ++turns;
      rt::os::yield_cpu();
    } else {
      rt::os::sleep_for(50'000);
    }
  }
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
