// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace weft::rt {

/// Makes `n` Ps the ones in use: at the start of run().
void set_width(int n);
/// The same while fibers run.
void change_width(int n);

}  // namespace weft::rt
