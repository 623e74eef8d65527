// SPDX-License-Identifier: Apache-2.0
#include "runtime/wait/outcome.hpp"

#include <system_error>

#include "runtime/scope/cancel.hpp"

namespace weft::inline v0::rt {

void throw_if_not_ok(wait_outcome how) {
  if (how == wait_outcome::cancelled) throw_cancelled();
  if (how == wait_outcome::ended)
    throw std::system_error(std::make_error_code(std::errc::operation_canceled),
                            "weft: the runtime ended while this thread waited");
}

}  // namespace weft::inline v0::rt
