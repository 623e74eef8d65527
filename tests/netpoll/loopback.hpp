// SPDX-License-Identifier: Apache-2.0
//
// Two ends of a connection within this process, and what the tests of sockets say often.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace weft_test {

struct connection {
  weft::net::tcp_stream ours, peers;
};

/// By fibers, over 127.0.0.1.
inline connection connected_pair(const char* at = "127.0.0.1:0") {
  auto listener = weft::net::listen(at);
  auto accepted = weft::spawn([&] { return *listener.accept(); });
  auto ours = weft::net::connect(listener.local_endpoint().to_string());
  return {std::move(ours), accepted.join()};
}

/// The code that `f` throws, if it does.
template <class F>
std::error_code code_of(F f) {
  try {
    f();
  } catch (const std::system_error& error) {
    return error.code();
  }
  return {};
}

/// What `f` says as it throws.
template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}

/// Whether the number stands for an open file.
inline bool is_open(int number) { return fcntl(number, F_GETFD) >= 0; }

inline void write_text(weft::net::byte_stream& s, std::string_view text) { s.write_all(std::span<const char>(text)); }

/// Exactly `n` characters.
inline std::string read_text(weft::net::byte_stream& s, std::size_t n) {
  std::string text(n, '\0');
  s.read_exactly(std::span<char>(text));
  return text;
}

/// The next close of the stream sends a reset instead of an end.
inline void reset_on_close(weft::net::tcp_stream& s) {
  const linger at_once{1, 0};
  setsockopt(s.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

/// Writes until the kernel takes no more; what was written.
inline std::size_t fill(weft::net::byte_stream& s) {
  const std::string block(64 * 1024, 'x');
  const int fd = s.native_handle();
  std::size_t total = 0;
  for (std::error_code error; !error;) {
    ssize_t taken = 0;
    while ((taken = ::send(fd, block.data(), block.size(), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
      total += static_cast<std::size_t>(taken);
    s.set_write_deadline(weft::clock::now() + std::chrono::milliseconds(20));  // what is on its way makes room
    total += s.write_some(std::span<const char>(block), error);
  }
  s.set_write_deadline(weft::clock::time_point::max());
  return total;
}

}  // namespace weft_test
