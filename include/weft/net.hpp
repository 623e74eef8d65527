// SPDX-License-Identifier: Apache-2.0
// Sockets, pipes and other descriptors for fibers. Every call waits on the fiber alone, is cancellable, and has two
// forms, as in <filesystem>: one throws std::system_error (and weft::cancelled, if the scope is cancelled), one takes a
// std::error_code last (then a cancellation is std::errc::operation_canceled). From a plain thread, while a runtime
// runs, they block that thread.
//
// ```cpp
// auto ln = weft::net::listen("127.0.0.1:8080");
// weft::scope conns(weft::collect, {.limit = 10'000});
// conns.go([&] { weft::signals({SIGINT, SIGTERM}).recv(); ln.close(); });
// while (auto s = ln.accept())
//   conns.go([s = std::move(*s)]() mutable { weft::io::copy(s, s); });
// ```
//
// What close, deadlines and native_handle do is the same for all of them: weft/detail/net_object.hpp; reading and
// writing bytes: weft/net/byte_stream.hpp.
#pragma once

#include <weft/io.hpp>
#include <weft/net/byte_stream.hpp>
#include <weft/net/endpoint.hpp>
#include <weft/net/fd.hpp>
#include <weft/net/from_fd.hpp>
#include <weft/net/inherited.hpp>
#include <weft/net/tcp.hpp>
#include <weft/net/udp.hpp>
#include <weft/net/unix.hpp>
#include <weft/net/watcher.hpp>
#include <weft/signals.hpp>
