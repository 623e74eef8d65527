// SPDX-License-Identifier: Apache-2.0
// What weft::net calls an address and a port.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <weft/detail/export.hpp>

namespace weft {
namespace rt {
struct endpoint_access;
}  // namespace rt

inline namespace v0 {

namespace net {

/// endpoint is an IPv4 or IPv6 address with a port. A value. An IPv6 address that only wraps an IPv4 one
/// (::ffff:127.0.0.1) that comes from the kernel is shown as that IPv4 address. Never waits.
class WEFT_EXPORT endpoint {
 public:
  /// 0.0.0.0:0
  endpoint() noexcept = default;

  /// parse makes one of "127.0.0.1:80", "[::1]:80" or "[fe80::1%eth0]:80"; an empty host (":80") is 0.0.0.0. Names are
  /// refused (`resolve` takes them): std::errc::invalid_argument. Needs no runtime, never waits.
  [[nodiscard]] static endpoint parse(std::string_view text);
  [[nodiscard]] static endpoint parse(std::string_view text, std::error_code& error);

  /// The address alone: "127.0.0.1", "::1", "fe80::1%2".
  [[nodiscard]] std::string address() const;
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] bool is_v6() const noexcept { return v6_; }
  /// As `connect` and `listen` take it: "127.0.0.1:80", "[::1]:80".
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const endpoint&, const endpoint&) noexcept = default;

 private:
  friend struct rt::endpoint_access;
  std::array<std::uint8_t, 16> bytes_{};  // network order; IPv4 uses the first four
  std::uint32_t scope_ = 0;               // of a link-local IPv6 address
  std::uint16_t port_ = 0;
  bool v6_ = false;
};

/// resolve gives the addresses of "host:port" (or of a numeric one: itself) in the order in which they are to be tried;
/// an empty host is this machine. Waits for getaddrinfo on its own thread, under weft::blocking, and is not cancelled
/// meanwhile. A name that nobody knows is std::errc::host_unreachable, a text that is no "host:port" invalid_argument.
/// Any thread.
[[nodiscard]] WEFT_EXPORT std::vector<endpoint> resolve(std::string_view where);
[[nodiscard]] WEFT_EXPORT std::vector<endpoint> resolve(std::string_view where, std::error_code& error);

}  // namespace net
}  // namespace v0
}  // namespace weft
