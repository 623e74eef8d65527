// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>

namespace weft::inline v0::rt {

/// Every fiber with id, name, state, reason, since when, spawn site and stack. Stops nobody.
void dump_everything(std::FILE* out) noexcept;

}  // namespace weft::inline v0::rt
