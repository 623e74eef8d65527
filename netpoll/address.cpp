// SPDX-License-Identifier: Apache-2.0
// Numeric addresses are parsed here; names go to the resolver.
#include "netpoll/address.hpp"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>

#include "netpoll/resolver.hpp"
#include "runtime/scope/cancel.hpp"

namespace weft {
namespace rt {

namespace {

constexpr std::size_t wrapping = 12;  // bytes of an IPv6 address ahead of the IPv4 one that it wraps

bool wraps_v4(const std::uint8_t* v6) noexcept {
  return std::all_of(v6, v6 + 10, [](std::uint8_t each) { return each == 0; }) && v6[10] == 0xff && v6[11] == 0xff;
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_hexadecimal(char c) noexcept { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool all_digits(std::string_view text) noexcept { return std::all_of(text.begin(), text.end(), is_digit); }

/// A decimal number of digits alone, without a leading zero.
template <class Number>
bool parse_number(std::string_view text, Number& out) noexcept {
  if (text.empty() || !all_digits(text) || (text.size() > 1 && text.front() == '0')) return false;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, out);
  return error == std::errc{} && rest == end;
}

/// Whether inet_aton would take `host` for an address ("127.1", "0x7f000001", "2130706433"), or nearly: no name that
/// somebody has given looks so.
bool looks_like_v4(std::string_view host) noexcept {
  for (;;) {
    const std::size_t dot = host.find('.');
    std::string_view part = host.substr(0, dot);
    if (part.starts_with("0x") || part.starts_with("0X")) {
      part.remove_prefix(2);
      if (!std::all_of(part.begin(), part.end(), is_hexadecimal)) return false;
    } else if (!all_digits(part)) {
      return false;
    }
    if (dot == host.npos) return true;
    host.remove_prefix(dot + 1);
  }
}

constexpr std::size_t longest_name = 253;  // RFC 1035, as text

const char* refusal_of_name(std::string_view host) noexcept {
  if (host.size() > longest_name + (host.ends_with('.') ? 1 : 0)) return "the name of a host has at most 253 bytes";
  if (looks_like_v4(host)) return "an IPv4 address is four decimal numbers of 0 to 255 without leading zeros";
  const auto impossible = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte <= ' ' || byte == 0x7f || c == '[' || c == ']' || c == '%' || c == '/';
  };
  if (std::any_of(host.begin(), host.end(), impossible)) return "a character in it stands in no name of a host";
  return nullptr;
}

/// As in /etc/services. A letter or a digit first, and one letter at least: what strtoul takes is none.
bool is_service(std::string_view text) noexcept {
  constexpr std::string_view others = "-_.+";
  constexpr std::size_t longest = 64;
  const auto possible = [&](char c) { return is_letter(c) || is_digit(c) || others.find(c) != others.npos; };
  return !text.empty() && text.size() <= longest && (is_letter(text.front()) || is_digit(text.front())) &&
         std::any_of(text.begin(), text.end(), is_letter) && std::all_of(text.begin(), text.end(), possible);
}

bool parse_v4(std::string_view host, net::endpoint& out) {
  std::array<std::byte, 4> bytes;
  if (inet_pton(AF_INET, std::string(host).c_str(), bytes.data()) != 1) return false;
  out = net::endpoint(bytes, 0);
  return true;
}

/// What stands in brackets. Returns why it is none, or nullptr.
const char* parse_v6(std::string_view host, net::endpoint& out) {
  const std::size_t percent = host.find('%');
  std::array<std::byte, 16> bytes;
  if (inet_pton(AF_INET6, std::string(host.substr(0, percent)).c_str(), bytes.data()) != 1)
    return "what stands in brackets is no IPv6 address";
  std::uint32_t scope = 0;
  if (percent != host.npos) {
    if (wraps_v4(reinterpret_cast<const std::uint8_t*>(bytes.data()))) return "an IPv4 address has no zone";
    const std::string zone(host.substr(percent + 1));
    scope = if_nametoindex(zone.c_str());
    if (scope == 0 && (!parse_number(zone, scope) || scope == 0))
      return "the zone behind % is neither an interface of this machine nor the number of one";
  }
  out = net::endpoint(bytes, 0, scope);
  return nullptr;
}

const char* parse_host(std::string_view host, place& out) {
  if (host.starts_with('[')) {
    if (!host.ends_with(']') || host.size() < 2) return "the bracket is not closed in front of the colon";
    out.host = place::host_kind::address;
    return parse_v6(host.substr(1, host.size() - 2), out.address);
  }
  if (host.find(':') != host.npos) return "an IPv6 address stands in brackets, as in \"[::1]:8080\"";
  if (host.empty()) {
    out.host = place::host_kind::any;
    return nullptr;
  }
  if (parse_v4(host, out.address)) {
    out.host = place::host_kind::address;
    return nullptr;
  }
  out.host = place::host_kind::name;
  out.name = host;
  return refusal_of_name(host);
}

const char* parse_port(std::string_view port, place& out) {
  if (parse_number(port, out.port)) return nullptr;
  if (!is_service(port)) return "a port is 0 to 65535, without a sign, a blank or a leading zero, or a service's name";
  out.service = port;
  return nullptr;
}

std::vector<net::endpoint> addresses_of(const place& at, std::uint16_t port, bool passive) {
  if (at.host == place::host_kind::address) return {endpoint_access::with_port(at.address, port)};
  const net::endpoint v4 = passive ? net::endpoint() : endpoint_access::loopback_v4();
  const net::endpoint v6 = passive ? endpoint_access::unspecified_v6() : endpoint_access::loopback_v6();
  std::vector<net::endpoint> both{endpoint_access::with_port(v4, port), endpoint_access::with_port(v6, port)};
  if (passive) std::swap(both[0], both[1]);  // one socket for IPv6 serves IPv4 as well
  return both;
}

/// A resolver may name an address twice, once for each protocol or file.
void drop_repeated(std::vector<net::endpoint>& list) {
  auto end = list.begin();
  for (const net::endpoint& each : list)
    if (std::find(list.begin(), end, each) == end) *end++ = each;
  list.erase(end, list.end());
}

}  // namespace

net::endpoint endpoint_access::from(const sockaddr_in6& address) noexcept {
  net::endpoint e;
  if (address.sin6_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    std::memcpy(e.bytes_.data(), &v4.sin_addr, sizeof v4.sin_addr);
    e.port_ = ntohs(v4.sin_port);
  } else if (address.sin6_family == AF_INET6) {
    std::memcpy(e.bytes_.data(), &address.sin6_addr, sizeof address.sin6_addr);
    e.port_ = ntohs(address.sin6_port);
    e.v6_ = true;
    if (!unwrap(e)) e.scope_ = address.sin6_scope_id;
  }
  return e;
}

net::endpoint endpoint_access::from(const sockaddr_storage& address) noexcept {
  return from(reinterpret_cast<const sockaddr_in6&>(address));
}

bool endpoint_access::unwrap(net::endpoint& e) noexcept {
  if (!wraps_v4(e.bytes_.data())) return false;
  std::array<std::uint8_t, 16> v4{};
  std::copy_n(e.bytes_.begin() + wrapping, 4, v4.begin());
  e.bytes_ = v4;
  e.v6_ = false;
  return true;
}

socklen_t endpoint_access::to(const net::endpoint& e, sockaddr_in6& out) noexcept {
  std::memset(&out, 0, sizeof out);  // no assignment, which the compiler may put behind the stores of another type
  if (!e.v6_) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(e.port_);
    std::memcpy(&v4.sin_addr, e.bytes_.data(), sizeof v4.sin_addr);
    return sizeof v4;
  }
  out.sin6_family = AF_INET6;
  out.sin6_port = htons(e.port_);
  out.sin6_scope_id = e.scope_;
  std::memcpy(&out.sin6_addr, e.bytes_.data(), sizeof out.sin6_addr);
  return sizeof out;
}

socklen_t endpoint_access::to(const net::endpoint& e, sockaddr_storage& out) noexcept {
  return to(e, reinterpret_cast<sockaddr_in6&>(out));
}

socklen_t endpoint_access::to_v6(const net::endpoint& e, sockaddr_in6& out) noexcept {
  if (e.v6_) return to(e, out);
  net::endpoint wrapped;
  wrapped.bytes_[wrapping - 2] = wrapped.bytes_[wrapping - 1] = 0xff;
  std::copy_n(e.bytes_.begin(), 4, wrapped.bytes_.begin() + wrapping);
  wrapped.port_ = e.port_;
  wrapped.v6_ = true;
  return to(wrapped, out);
}

socklen_t endpoint_access::to_v6(const net::endpoint& e, sockaddr_storage& out) noexcept {
  return to_v6(e, reinterpret_cast<sockaddr_in6&>(out));
}

net::endpoint endpoint_access::with_port(net::endpoint e, std::uint16_t port) noexcept {
  e.port_ = port;
  return e;
}

net::endpoint endpoint_access::loopback_v4() noexcept {
  net::endpoint e;
  e.bytes_[0] = 127;
  e.bytes_[3] = 1;
  return e;
}

net::endpoint endpoint_access::loopback_v6() noexcept {
  net::endpoint e = unspecified_v6();
  e.bytes_[15] = 1;
  return e;
}

net::endpoint endpoint_access::unspecified_v6() noexcept {
  net::endpoint e;
  e.v6_ = true;
  return e;
}

place parse_place(std::string_view where) {
  place result;
  const std::size_t colon = where.rfind(':');
  if (where.find('\0') != where.npos)
    result.refusal = "there is a zero byte in it";
  else if (colon == where.npos || where.ends_with(']'))
    result.refusal = "expected \"host:port\", such as \"127.0.0.1:8080\", \"[::1]:8080\" or \"localhost:http\"";
  else if (const char* const why = parse_host(where.substr(0, colon), result))
    result.refusal = why;
  else
    result.refusal = parse_port(where.substr(colon + 1), result);
  return result;
}

lookup look_up(std::string_view where, bool passive, int type) {
  lookup result;
  const place at = parse_place(where);
  if (at.refusal != nullptr) {
    refuse(result, at.refusal);
    return result;
  }
  const bool named = at.host == place::host_kind::name;
  std::uint16_t port = at.port;
  if (named || !at.service.empty()) {
    // Of a service alone the port is asked for, beside an address that no resolver has to look up.
    resolve_name(named ? at.name : "127.0.0.1", at.service.empty() ? std::to_string(port) : at.service, passive, type,
                 result);
    if (result.error) return result;
    port = result.found.front().port();
  }
  if (!named) result.found = addresses_of(at, port, passive);
  drop_repeated(result.found);
  if (named && passive)
    std::stable_partition(result.found.begin(), result.found.end(), [](const auto& each) { return each.is_v4(); });
  return result;
}

void refuse(lookup& at, std::string why) { at = {{}, {EINVAL, std::system_category()}, false, std::move(why)}; }

void raise(const lookup& failed, const std::string& what) {
  if (failed.cancelled) throw_cancelled();
  throw std::system_error(failed.error,
                          "weft::net: " + what + (failed.detail.empty() ? "" : " (" + failed.detail + ")"));
}

std::string quoted(std::string_view text) {
  constexpr std::size_t longest = 300;
  constexpr char digits[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char each : text.substr(0, longest)) {
    const auto byte = static_cast<unsigned char>(each);
    if (byte < ' ' || byte == 0x7f || each == '"' || each == '\\')
      result.append({'\\', 'x', digits[byte >> 4], digits[byte & 15]});
    else
      result += each;
  }
  return result + (text.size() > longest ? "...\"" : "\"");
}

}  // namespace rt

inline namespace v0 {

namespace net {

/// Throws for a scope beside an address of IPv4.
static void refuse_scope(std::uint32_t scope) {
  if (scope != 0)
    throw std::invalid_argument("weft::net::endpoint: scope " + std::to_string(scope) +
                                " beside an IPv4 address (expected 0: only IPv6 addresses have one)");
}

endpoint::endpoint(std::span<const std::byte, 4> address, std::uint16_t port, std::uint32_t scope) : port_(port) {
  std::memcpy(bytes_.data(), address.data(), address.size());
  refuse_scope(scope);
}

endpoint::endpoint(std::span<const std::byte, 16> address, std::uint16_t port, std::uint32_t scope)
    : scope_(scope), port_(port), v6_(true) {
  std::memcpy(bytes_.data(), address.data(), address.size());
  if (rt::endpoint_access::unwrap(*this)) refuse_scope(scope);
}

/// Sets `why` if the text is none.
static endpoint parse_text(std::string_view text, const char*& why) {
  const rt::place at = rt::parse_place(text);
  why = at.refusal;
  if (why == nullptr && (at.host == rt::place::host_kind::name || !at.service.empty()))
    why = "expected a numeric address and port, such as \"127.0.0.1:80\"; net::resolve takes names";
  return why != nullptr ? endpoint() : rt::endpoint_access::with_port(at.address, at.port);
}

endpoint endpoint::parse(std::string_view text, std::error_code& error) {
  const char* why;
  const endpoint e = parse_text(text, why);
  error = {why != nullptr ? EINVAL : 0, std::system_category()};
  return e;
}

endpoint endpoint::parse(std::string_view text) {
  const char* why;
  const endpoint e = parse_text(text, why);
  if (why != nullptr) throw std::invalid_argument("weft::net: " + rt::quoted(text) + " is no endpoint (" + why + ")");
  return e;
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

bool endpoint::is_loopback() const noexcept {
  return v6_ ? bytes_ == std::array<std::uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
             : bytes_[0] == 127;
}

bool endpoint::is_unspecified() const noexcept { return bytes_ == std::array<std::uint8_t, 16>{}; }

bool endpoint::is_multicast() const noexcept { return v6_ ? bytes_[0] == 0xff : (bytes_[0] & 0xf0) == 0xe0; }

std::size_t endpoint::hash() const noexcept {
  std::array<char, sizeof bytes_ + sizeof scope_ + sizeof port_ + sizeof v6_> all;
  char* const others = std::copy(bytes_.begin(), bytes_.end(), all.begin());
  std::memcpy(others, &scope_, sizeof scope_);
  std::memcpy(others + sizeof scope_, &port_, sizeof port_);
  all.back() = v6_ ? 1 : 0;
  return std::hash<std::string_view>()({all.data(), all.size()});
}

}  // namespace net

namespace detail {

static found_endpoints copy_of(const std::vector<net::endpoint>& all) {
  found_endpoints result;
  result.all = std::make_unique<net::endpoint[]>(all.size());
  result.count = all.size();
  std::copy(all.begin(), all.end(), result.all.get());
  return result;
}

found_endpoints find_endpoints(std::string_view where, std::error_code& error) {
  const rt::lookup at = rt::look_up(where, false);
  error = at.error;
  return copy_of(at.found);
}

found_endpoints find_endpoints(std::string_view where) {
  const rt::lookup at = rt::look_up(where, false);
  if (at.error) rt::raise(at, "resolve " + rt::quoted(where));
  return copy_of(at.found);
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
