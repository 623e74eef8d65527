// SPDX-License-Identifier: Apache-2.0
// io::copy between a stream socket and a pipe by splice(2): the kernel hands pages on instead of copying them twice.
//
// Only where one of the two is a pipe already. Between two sockets it takes a pipe of one's own in between, and gains
// nothing that a larger buffer would not. CPU seconds a GiB of the copier, and of writer, copier and reader together
// (loopback, 2 CPUs, best of 7):
//
//                        buffer of 32 KiB   buffer of 64 KiB   splice, pipe of 64 KiB   splice, pipe of 1 MiB
//     socket to socket   0.27, 0.58         0.21, 0.53         0.31, 0.62               0.15, 0.52
//     socket to pipe     0.30, 0.68                            0.15, 0.39
//     pipe to socket     0.23, 0.53                            0.16, 0.47
//
// (An unprivileged user may have 64 pipes of 1 MiB.)
//
// Both sides are held only while something is moved, and only one of them is waited for: an operation that waits for
// more to read keeps none from writing, and either end can be closed while the other stalls.
#include <weft/io.hpp>
#include <weft/net/byte_stream.hpp>

#include <poll.h>

#include <cerrno>

#include "netpoll/access.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/side.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

constexpr std::size_t at_a_time = std::size_t{64} << 10;  // what a pipe holds

bool is_stream_socket(file_kind kind) noexcept { return kind == file_kind::tcp || kind == file_kind::unix_domain; }

enum class moved { some, all, source_is_empty, sink_is_full, nothing_possible, failed };

constexpr int most_vain_calls = 8;  ///< that say EAGAIN though both are ready, before bytes are copied instead

/// EAGAIN does not tell which of the two it is.
moved move_some(descriptor& from, descriptor& to, std::uint64_t& total, failure& why) noexcept {
  held_side in(&from, direction::read, why);
  if (!in) return moved::failed;
  held_side out(&to, direction::write, why);
  if (!out) return moved::failed;
  for (int call = 0; call < most_vain_calls; ++call) {
    const ssize_t n = splice_now(in.fd(), out.fd(), at_a_time);
    if (n == 0) return moved::all;
    if (n > 0) {
      total += static_cast<std::uint64_t>(n);
      return moved::some;
    }
    if (n == -EINVAL && total == 0) return moved::nothing_possible;
    if (n != -EAGAIN && n != -EINTR) {
      why.error = static_cast<int>(-n);
      return moved::failed;
    }
    if (poll_now(in.fd(), POLLIN) == -EAGAIN) return moved::source_is_empty;
    if (poll_now(out.fd(), POLLOUT) == -EAGAIN) return moved::sink_is_full;
  }
  return moved::nothing_possible;
}

}  // namespace

bool detail::splice_all(net::byte_stream& from, net::byte_stream& to, std::uint64_t& total, std::error_code* error) {
  descriptor* const source = net_access::of(from);
  descriptor* const sink = net_access::of(to);
  if (source == nullptr || sink == nullptr) return false;
  const bool into = is_stream_socket(source->kind) && sink->kind == file_kind::pipe;
  const bool out_of = source->kind == file_kind::pipe && is_stream_socket(sink->kind);
  if (!into && !out_of) return false;
  failure why;
  for (moved how = moved::some; how != moved::all && !why;) {
    how = move_some(*source, *sink, total, why);
    if (how == moved::nothing_possible) return false;
    if (how == moved::source_is_empty) await_readiness(source, direction::read, why);
    if (how == moved::sink_is_full) await_readiness(sink, direction::write, why);
  }
  if (error != nullptr)
    *error = to_code(why);
  else if (why)
    raise(why, "copy between a socket and a pipe");
  return true;
}

}  // namespace v0
}  // namespace weft
