// SPDX-License-Identifier: Apache-2.0
// Bounds that several floors share.
#pragma once

namespace weft::rt {

/// The most Ps there can be: what `maxprocs` accepts, and the size of tables with an entry for each.
inline constexpr int max_width = 1024;

}  // namespace weft::rt
