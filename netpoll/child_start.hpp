// SPDX-License-Identifier: Apache-2.0
// Starting a child: what is asked for is looked through, the streams are made ready, posix_spawn does the rest.
#pragma once

#include <string>

#include "netpoll/child_process.hpp"

namespace weft::rt {

struct started_child {
  owned_child child;
  failure why;
  std::string detail;  ///< completes the message, if there is more to say than the code
};

started_child start_child(const detail::process_request& what);

}  // namespace weft::rt
