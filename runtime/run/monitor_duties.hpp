// SPDX-License-Identifier: Apache-2.0
// The width that follows the machine, as the monitor sees to it; its other duties are in upcalls.hpp.
#pragma once

namespace weft::rt {

/// Whether the monitor changes the number of Ps with the CPUs of the machine. Called at the begin of run(), before the
/// monitor starts.
void follow_machine_width(bool follow) noexcept;
/// From here on the machine's width is not followed any more. Any thread.
void width_is_set_by_hand() noexcept;

}  // namespace weft::rt
