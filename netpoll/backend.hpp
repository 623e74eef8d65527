// SPDX-License-Identifier: Apache-2.0
// What serves sockets and files: chosen by each run(), started when it is first needed, kept by the process.
//
//   options::netpoll   sockets     files
//   automatic          epoll       io_uring; threads, where it is refused
//   epoll              epoll       threads
//   io_uring           io_uring    io_uring; run() throws where it is refused
//
// Between two run()s everything stays as it is, asleep. fork: the child has none of the threads, so it forgets them and
// closes its copies of their descriptors; a child that was forked while no runtime ran starts its own.
#pragma once

#include <weft/debug.hpp>

#include "netpoll/file_engine.hpp"
#include "runtime/config/options.hpp"

namespace weft::rt {

class readiness_reporter;

/// For the run that begins. Throws std::system_error if io_uring was asked for and cannot be had.
void begin_netpoll(const resolved_options& how);

/// Starts it, if it is the first time: that blocks the thread for a moment.
file_engine& engine_for_files() noexcept;

/// For descriptors that are opened from here on. Returns nullptr if there is none, and why in `error`.
readiness_reporter* reporter_for_sockets(int& error) noexcept;

/// For debug::stats().
debug::file_engine serving_files() noexcept;
std::int64_t ring_refusals() noexcept;

}  // namespace weft::rt
