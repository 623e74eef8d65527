// SPDX-License-Identifier: Apache-2.0
// Numeric addresses are parsed here; names go to getaddrinfo, on the calling thread but with the P given up
// (weft::blocking), since it may take seconds.
#include "netpoll/address.hpp"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <utility>

#include <weft/runtime.hpp>

#include "runtime/scope/cancel.hpp"

namespace weft {
inline namespace v0 {

namespace {

struct host_and_port {
  std::string host;
  std::string port;
  bool bracketed = false;
};

bool split(std::string_view where, host_and_port& out) {
  const std::size_t colon = where.rfind(':');
  if (colon == where.npos) return false;
  out.port = where.substr(colon + 1);
  std::string_view host = where.substr(0, colon);
  if (host.starts_with('[')) {
    if (!host.ends_with(']')) return false;
    out.bracketed = true;
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != host.npos) {
    return false;  // an IPv6 address without brackets: which colon is the port's?
  }
  out.host = host;
  return !out.port.empty() && host.find('\0') == host.npos;
}

bool parse_port(const std::string& text, std::uint16_t& port) noexcept {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, port);
  return error == std::errc{} && rest == end;
}

bool all_digits(const std::string& text) noexcept { return text.find_first_not_of("0123456789") == text.npos; }

/// getaddrinfo's own errors, where they are no errno.
class resolver_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "weft.resolver"; }
  std::string message(int code) const override { return gai_strerror(code); }
  std::error_condition default_error_condition(int code) const noexcept override {
    switch (code) {
      case EAI_AGAIN:
        return std::errc::resource_unavailable_try_again;
      case EAI_FAMILY:
        return std::errc::address_family_not_supported;
      case EAI_NONAME:
      case EAI_FAIL:
        return std::errc::host_unreachable;
      default:
        return {code, *this};
    }
  }
};

std::error_code resolver_error(int code, int error) {
  static const auto* const category = new resolver_category;  // outlives the statics that hold an error
  if (code == EAI_SYSTEM) return {error, std::system_category()};
  if (code == EAI_MEMORY) return {ENOMEM, std::system_category()};
  return {code, *category};
}

void resolve(const host_and_port& at, bool passive, int type, rt::lookup& result) {
  addrinfo hints{};
  hints.ai_socktype = type;
  hints.ai_flags = passive ? AI_PASSIVE : 0;
  addrinfo* list = nullptr;
  int error = 0;
  const int code = weft::blocking([&] {
    const int c = getaddrinfo(at.host.c_str(), at.port.c_str(), &hints, &list);
    error = errno;  // in here nothing parks
    return c;
  });
  if (code != 0) {
    result.error = resolver_error(code, error);
    return;
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, freeaddrinfo);
  for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
    sockaddr_storage address{};
    if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
    std::memcpy(&address, each->ai_addr, std::min<std::size_t>(each->ai_addrlen, sizeof address));
    result.found.push_back(rt::endpoint_access::from(address));
  }
  if (result.found.empty()) result.error = resolver_error(EAI_NONAME, 0);
}

}  // namespace

}  // namespace v0

namespace rt {

constexpr std::size_t wrapping = 12;  // bytes of an IPv6 address ahead of the IPv4 one that it wraps

net::endpoint endpoint_access::from(const sockaddr_storage& address) noexcept {
  net::endpoint e;
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    std::memcpy(e.bytes_.data(), &v4.sin_addr, sizeof v4.sin_addr);
    e.port_ = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      std::memcpy(e.bytes_.data(), &v6.sin6_addr.s6_addr[wrapping], 4);
      e.port_ = ntohs(v6.sin6_port);
      return e;
    }
    std::memcpy(e.bytes_.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
    e.port_ = ntohs(v6.sin6_port);
    e.scope_ = v6.sin6_scope_id;
    e.v6_ = true;
  }
  return e;
}

socklen_t endpoint_access::to(const net::endpoint& e, sockaddr_storage& out) noexcept {
  out = {};
  if (!e.v6_) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(e.port_);
    std::memcpy(&v4.sin_addr, e.bytes_.data(), sizeof v4.sin_addr);
    return sizeof v4;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(e.port_);
  v6.sin6_scope_id = e.scope_;
  std::memcpy(&v6.sin6_addr, e.bytes_.data(), sizeof v6.sin6_addr);
  return sizeof v6;
}

socklen_t endpoint_access::to_v6(const net::endpoint& e, sockaddr_storage& out) noexcept {
  if (e.v6_) return to(e, out);
  net::endpoint wrapped;
  wrapped.bytes_[wrapping - 2] = wrapped.bytes_[wrapping - 1] = 0xff;
  std::copy_n(e.bytes_.begin(), 4, wrapped.bytes_.begin() + wrapping);
  wrapped.port_ = e.port_;
  wrapped.v6_ = true;
  return to(wrapped, out);
}

bool endpoint_access::parse(const std::string& host, std::uint16_t port, net::endpoint& out) {
  net::endpoint e;
  e.port_ = port;
  if (inet_pton(AF_INET, host.c_str(), e.bytes_.data()) == 1) {
    out = e;
    return true;
  }
  const std::size_t percent = host.find('%');
  e.v6_ = true;
  if (inet_pton(AF_INET6, host.substr(0, percent).c_str(), e.bytes_.data()) != 1) return false;
  if (percent != host.npos) {
    const std::string zone = host.substr(percent + 1);
    e.scope_ = if_nametoindex(zone.c_str());
    const char* const end = zone.data() + zone.size();
    if (e.scope_ == 0 && std::from_chars(zone.data(), end, e.scope_).ptr != end) return false;
  }
  out = e;
  return true;
}

namespace {

lookup refused(const char* expected) { return {{}, {EINVAL, std::system_category()}, false, expected}; }

/// Looks up everything but names; those stay in `at`. Returns false if there is one.
bool look_up_numeric(std::string_view where, bool passive, host_and_port& at, lookup& result) {
  if (!split(where, at)) {
    result = refused("expected \"host:port\", such as \"127.0.0.1:8080\", \"[::1]:8080\" or \"localhost:http\"");
    return true;
  }
  std::uint16_t port = 0;
  const bool numeric_port = parse_port(at.port, port);
  if (!numeric_port && all_digits(at.port)) {
    result = refused("a port is 0 to 65535");
    return true;
  }
  net::endpoint e;
  if (numeric_port && at.host.empty()) {
    for (const char* host : {passive ? "::" : "127.0.0.1", passive ? "0.0.0.0" : "::1"})
      if (endpoint_access::parse(host, port, e)) result.found.push_back(e);
    return true;
  }
  if (numeric_port && endpoint_access::parse(at.host, port, e)) {
    result.found.push_back(e);
    return true;
  }
  if (at.bracketed) result = refused("what stands in brackets is no IPv6 address");
  return at.bracketed;
}

}  // namespace

lookup look_up(std::string_view where, bool passive, int type) {
  lookup result;
  host_and_port at;
  if (look_up_numeric(where, passive, at, result)) return result;
  try {
    resolve(at, passive, type, result);
  } catch (const cancelled&) {
    result.error = {ECANCELED, std::system_category()};
    result.cancelled = true;
  }
  return result;
}

bool look_up_numeric(std::string_view where, bool passive, lookup& result) {
  host_and_port at;
  return look_up_numeric(where, passive, at, result);
}

}  // namespace rt

inline namespace v0 {

namespace net {

static endpoint parse_text(std::string_view text, std::error_code& error, std::string& detail) {
  rt::lookup at;
  if (!rt::look_up_numeric(text, false, at)) {
    at.error = {EINVAL, std::system_category()};
    at.detail = "expected a numeric address and port, such as \"127.0.0.1:80\"; net::resolve takes names";
  }
  error = at.error;
  detail = std::move(at.detail);
  if (error) return {};
  endpoint e = at.found.front();
  if (text.starts_with(':')) rt::endpoint_access::parse("0.0.0.0", e.port(), e);
  return e;
}

endpoint endpoint::parse(std::string_view text, std::error_code& error) {
  std::string detail;
  return parse_text(text, error, detail);
}

endpoint endpoint::parse(std::string_view text) {
  std::error_code error;
  std::string detail;
  const endpoint e = parse_text(text, error, detail);
  if (error) throw std::system_error(error, "weft::net: \"" + std::string(text) + "\" is no endpoint (" + detail + ")");
  return e;
}

std::vector<endpoint> resolve(std::string_view where, std::error_code& error) {
  rt::lookup at = rt::look_up(where, false);
  error = at.error;
  return std::move(at.found);
}

std::vector<endpoint> resolve(std::string_view where) {
  rt::lookup at = rt::look_up(where, false);
  if (at.cancelled) rt::throw_cancelled();
  if (at.error)
    throw std::system_error(at.error, "weft::net: resolve \"" + std::string(where) + '"' +
                                          (at.detail.empty() ? "" : " (" + at.detail + ")"));
  return std::move(at.found);
}

std::string endpoint::address() const {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(v6_ ? AF_INET6 : AF_INET, bytes_.data(), text, sizeof text);
  std::string result(text);
  if (scope_ != 0) result += '%' + std::to_string(scope_);
  return result;
}

std::string endpoint::to_string() const {
  const std::string host = address();
  return (v6_ ? '[' + host + ']' : host) + ':' + std::to_string(port_);
}

}  // namespace net
}  // namespace v0
}  // namespace weft
