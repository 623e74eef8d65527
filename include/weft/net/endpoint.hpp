// SPDX-License-Identifier: Apache-2.0
// What weft::net calls an address and a port.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
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

/// endpoint is an IPv4 or IPv6 address with a port. A value: it is compared, ordered (IPv4 before IPv6) and hashed, and
/// never waits. An IPv6 address that only wraps an IPv4 one (::ffff:127.0.0.1) is that IPv4 address, wherever it comes
/// from.
class WEFT_EXPORT endpoint {
 public:
  /// 0.0.0.0:0
  endpoint() noexcept = default;

  /// An IPv4 address, in network order. `scope` is for templates over both families: anything but 0 throws
  /// std::invalid_argument, since IPv4 has none.
  endpoint(std::span<const std::byte, 4> address, std::uint16_t port, std::uint32_t scope = 0);
  /// An IPv6 address, in network order. `scope` is the index of the interface that a link-local address belongs to
  /// (if_nametoindex); with an address that wraps an IPv4 one, anything but 0 throws std::invalid_argument.
  endpoint(std::span<const std::byte, 16> address, std::uint16_t port, std::uint32_t scope = 0);

  /// parse makes one of "127.0.0.1:80", "[::1]:80" or "[fe80::1%eth0]:80"; an empty host (":80") is 0.0.0.0. Needs no
  /// runtime. Anything else, names included (`resolve` takes them), throws std::invalid_argument, which says what is
  /// wrong; the form with an error code says std::errc::invalid_argument. Numbers are decimal digits without a sign, a
  /// blank or a leading zero; an IPv4 address has four of them and stands in no brackets; a zone is an interface that
  /// there is, or its number.
  [[nodiscard]] static endpoint parse(std::string_view text);
  [[nodiscard]] static endpoint parse(std::string_view text, std::error_code& error);

  /// The address alone: "127.0.0.1", "::1", "fe80::1%2".
  [[nodiscard]] std::string address() const;
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  /// The interface of a link-local IPv6 address, by its index; else 0.
  [[nodiscard]] std::uint32_t scope() const noexcept { return scope_; }
  /// As `connect`, `listen` and `parse` take it: "127.0.0.1:80", "[::1]:80".
  [[nodiscard]] std::string to_string() const;

  [[nodiscard]] bool is_v4() const noexcept { return !v6_; }
  [[nodiscard]] bool is_v6() const noexcept { return v6_; }
  /// 127.0.0.0/8 or ::1: this machine.
  [[nodiscard]] bool is_loopback() const noexcept;
  /// 0.0.0.0 or ::, which stands for every address where one listens.
  [[nodiscard]] bool is_unspecified() const noexcept;
  /// 224.0.0.0/4 or ff00::/8: a group.
  [[nodiscard]] bool is_multicast() const noexcept;

  friend bool operator==(const endpoint&, const endpoint&) noexcept = default;
  /// By family, address, zone, port.
  friend std::strong_ordering operator<=>(const endpoint& a, const endpoint& b) noexcept {
    if (const auto by = a.v6_ <=> b.v6_; by != 0) return by;
    if (const auto by = a.bytes_ <=> b.bytes_; by != 0) return by;
    if (const auto by = a.scope_ <=> b.scope_; by != 0) return by;
    return a.port_ <=> b.port_;
  }

 private:
  friend struct rt::endpoint_access;
  friend struct std::hash<endpoint>;
  [[nodiscard]] std::size_t hash() const noexcept;

  // An address that wraps an IPv4 one is never stored as IPv6, nor a zone beside IPv4: equal ones have equal members.
  std::array<std::uint8_t, 16> bytes_{};  // network order; IPv4 uses the first four, the rest is 0
  std::uint32_t scope_ = 0;
  std::uint16_t port_ = 0;
  bool v6_ = false;
};

}  // namespace net

namespace detail {

/// What net::resolve is made of. No container stands in the compiled interface: a program may be compiled with checked ones
/// (_GLIBCXX_DEBUG), which are other types.
struct found_endpoints {
  std::unique_ptr<net::endpoint[]> all;
  std::size_t count = 0;
};
[[nodiscard]] WEFT_EXPORT found_endpoints find_endpoints(std::string_view where);
[[nodiscard]] WEFT_EXPORT found_endpoints find_endpoints(std::string_view where, std::error_code& error);

}  // namespace detail

namespace net {

/// resolve gives the addresses of "host:port" (or of a numeric one: itself) in the order in which they are to be tried;
/// an empty host is this machine, and the port may be the name of a service ("localhost:http"). Waits for the system's
/// getaddrinfo, which runs on up to 64 helper threads; further
/// lookups wait in line. A caller that is cancelled or late leaves at once; a call that has begun ends without it, also
/// after the run. A name that nobody knows is std::errc::host_unreachable, a text that is no "host:port"
/// invalid_argument; no helper thread to be had, resource_unavailable_try_again. Any thread, with or without a runtime;
/// in a child that was forked while a runtime ran, a name ends the process with a message.
[[nodiscard]] inline std::vector<endpoint> resolve(std::string_view where) {
  const detail::found_endpoints found = detail::find_endpoints(where);
  return {found.all.get(), found.all.get() + found.count};
}
[[nodiscard]] inline std::vector<endpoint> resolve(std::string_view where, std::error_code& error) {
  const detail::found_endpoints found = detail::find_endpoints(where, error);
  return {found.all.get(), found.all.get() + found.count};
}

}  // namespace net
}  // namespace v0
}  // namespace weft

template <>
struct std::hash<weft::net::endpoint> {
  std::size_t operator()(const weft::net::endpoint& e) const noexcept { return e.hash(); }
};
