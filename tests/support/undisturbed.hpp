// SPDX-License-Identifier: Apache-2.0
//
// Tests of what one P does with its fibers in turn, on a machine that may take the CPU from any thread for long: the
// monitor then takes that thread's P, as it should, and others run beside it. What was seen in such a round says
// nothing, and the round is repeated.
#pragma once

#include <weft/debug.hpp>
#include <weft/runtime.hpp>

namespace weft_test {

/// In a fiber. What `round` returns once no P was taken from anybody while it ran. What its fibers share must bear it
/// that two run at a time: no check within it may depend on the order.
template <class Round>
auto undisturbed(Round round) {
  for (;;) {
    const auto before = weft::debug::stats().handoffs;
    weft::yield();  // its P may have been taken by then: it goes on with one
    auto result = round();
    if (weft::debug::stats().handoffs == before) return result;
  }
}

}  // namespace weft_test
