// SPDX-License-Identifier: Apache-2.0
// Looking at what others write meanwhile.
//
// Dumps and traces stop nobody and take no lock of the scheduler's hot paths, so they read fields that belong to a P,
// an M or a fiber while their owners write them. What they get is one word as it was at some moment; they check it, or
// print it. The memory itself is always there: Gs, Ms, Ps and stack descriptors are type-stable, and a stack's usable
// bytes stay mapped forever. Sanitizers are told that this is meant, in this one place.
#pragma once

namespace weft::rt {

/// One word that somebody else may be writing.
template <class T>
__attribute__((noinline, no_sanitize("thread"), no_sanitize("address"))) T racy_load(const T& word) noexcept {
  static_assert(sizeof(T) <= sizeof(void*), "larger things could be torn");
  return *static_cast<const volatile T*>(&word);
}

}  // namespace weft::rt
