// SPDX-License-Identifier: Apache-2.0
// The tag of constructors that take a descriptor over.
#pragma once

namespace weft {
inline namespace v0 {
namespace net {

struct from_fd_t {
  explicit from_fd_t() = default;
};

/// from_fd says that the number that follows is a descriptor to take over: `tcp_stream(net::from_fd, 3)`.
///
/// The descriptor must be what the type stands for: one that is not open is std::errc::bad_file_descriptor, what is no
/// socket not_a_socket, another kind of socket wrong_protocol_type, a stream without a peer not_connected, and one that
/// another object has already file_exists (a file: see weft/file.hpp). The descriptor is untouched then, and stays the caller's. Else it is the
/// object's, non-blocking and close-on-exec from here on; its options are left as they are. Should another owner of the
/// open file make it blocking again, deadlines and `close` hold all the same (but for an `accept` beside another process
/// that accepts there, and is quicker). Without a runtime: std::logic_error. Never waits.
inline constexpr from_fd_t from_fd{};

}  // namespace net
}  // namespace v0
}  // namespace weft
