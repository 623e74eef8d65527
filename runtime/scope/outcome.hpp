// SPDX-License-Identifier: Apache-2.0
// From the outcome of a wait to what the caller of a public function sees.
#pragma once

#include "runtime/wait/wait.hpp"

namespace weft::rt {

/// Throws `cancelled`, or std::system_error (operation_canceled) on a plain thread when the runtime has ended. Nothing
/// for the others.
void throw_if_not_ok(wait_outcome how);

}  // namespace weft::rt
