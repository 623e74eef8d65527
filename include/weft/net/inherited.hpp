// SPDX-License-Identifier: Apache-2.0
// Listeners that the service manager has opened ahead of the process (socket activation, sd_listen_fds).
#pragma once

#include <system_error>
#include <utility>
#include <vector>

#include <weft/detail/export.hpp>
#include <weft/net/tcp.hpp>
#include <weft/net/unix.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

/// `give(list, listener)` for each: the vector is the program's alone, so it may be built with checks of its own.
WEFT_EXPORT void take_inherited(void (*give)(void* list, net::tcp_listener&& one), void* list, std::error_code* error);
WEFT_EXPORT void take_inherited(void (*give)(void* list, net::unix_listener&& one), void* list, std::error_code* error);

template <class Listener>
std::vector<Listener> inherited(std::error_code* error) {
  std::vector<Listener> all;
  void (*const append)(void*, Listener&&) = [](void* list, Listener&& one) {
    static_cast<std::vector<Listener>*>(list)->push_back(std::move(one));
  };
  take_inherited(append, &all, error);
  return all;
}

}  // namespace detail

namespace net {

/// inherited_listeners gives the TCP listeners that the service manager has passed to this process (LISTEN_PID and
/// LISTEN_FDS), in their order: each once, so a second call gives none. None where nothing was passed, or to another
/// process. They are taken over as net::from_fd says.
///
/// The first call of this function or the next, whichever it is, makes all that was passed close-on-exec and removes
/// LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES from the environment: so it belongs to the beginning of the program, where
/// no other thread reads the environment. What is neither a TCP nor a Unix-domain listener stays open for net::from_fd,
/// from number 3 on.
///
/// A variable that is no number is std::errc::invalid_argument, a number of descriptors that are not all open
/// bad_file_descriptor: nothing has changed then. Without a runtime: std::logic_error. Never waits.
///
/// ```cpp
/// auto passed = weft::net::inherited_listeners();
/// auto ln = passed.empty() ? weft::net::listen(":8080") : std::move(passed.front());
/// ```
[[nodiscard]] inline std::vector<tcp_listener> inherited_listeners() {
  return detail::inherited<tcp_listener>(nullptr);
}
[[nodiscard]] inline std::vector<tcp_listener> inherited_listeners(std::error_code& error) {
  return detail::inherited<tcp_listener>(&error);
}

/// inherited_unix_listeners is the same for Unix-domain listeners. Their socket files are the service manager's.
[[nodiscard]] inline std::vector<unix_listener> inherited_unix_listeners() {
  return detail::inherited<unix_listener>(nullptr);
}
[[nodiscard]] inline std::vector<unix_listener> inherited_unix_listeners(std::error_code& error) {
  return detail::inherited<unix_listener>(&error);
}

}  // namespace net
}  // namespace v0
}  // namespace weft
