// SPDX-License-Identifier: Apache-2.0
#include "runtime/scope/outcome.hpp"

#include "runtime/scope/cancel.hpp"

namespace weft::rt {

void throw_if_not_ok(wait_outcome how) {
  if (how == wait_outcome::cancelled) throw_cancelled();
}

}  // namespace weft::rt
