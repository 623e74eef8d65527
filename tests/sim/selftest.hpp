// SPDX-License-Identifier: Apache-2.0
// Programs with a fault of their own, and their mended twins: the simulator must find each fault, and none in a twin.
#pragma once

namespace sim {

/// False if it did not. Says which, on stdout.
bool self_test();

}  // namespace sim
