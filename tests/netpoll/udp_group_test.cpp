// SPDX-License-Identifier: Apache-2.0
//
// Groups and broadcast within this machine. IPv4's pass the loopback device. Linux gives that no route for IPv6's, so they
// pass another one, and have the scope of one machine: the kernel puts none of them on a wire.

#include <gtest/gtest.h>

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <string_view>
#include <system_error>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::bind_options;
using weft::net::endpoint;
using weft::net::udp_socket;

constexpr std::string_view groups[] = {"239.255.77.1", "[ff11::7701]"};

/// The interface that carries groups; empty if there is none.
std::string device(bool v6) {
  if (!v6) return "lo";
  ifaddrs* all = nullptr;
  std::string found;
  if (getifaddrs(&all) != 0) return found;
  for (const ifaddrs* each = all; each != nullptr && found.empty(); each = each->ifa_next) {
    constexpr unsigned needed = IFF_UP | IFF_RUNNING | IFF_MULTICAST;
    const bool fits = each->ifa_addr != nullptr && each->ifa_addr->sa_family == AF_INET6;
    if (fits && (each->ifa_flags & needed) == needed) found = each->ifa_name;
  }
  freeifaddrs(all);
  return found;
}

endpoint at(std::string_view host, const udp_socket& port_of) {
  return endpoint::parse(std::string(host) + ':' + std::to_string(port_of.local_endpoint().port()));
}

/// What it sends to a group goes by `device`, and comes back.
void send_by(udp_socket& socket, const std::string& device, bool v6) {
  const auto index = static_cast<int>(if_nametoindex(device.c_str()));
  ip_mreqn v4{};
  v4.imr_ifindex = index;
  const int result = v6 ? setsockopt(socket.native_handle(), IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index)
                        : setsockopt(socket.native_handle(), IPPROTO_IP, IP_MULTICAST_IF, &v4, sizeof v4);
  EXPECT_EQ(result, 0);
}

std::string next(udp_socket& socket) {
  std::array<char, 64> buffer;
  return {buffer.data(), socket.recv_from(buffer).bytes};
}

/// Why the system lets nobody into the group; nothing if it does.
std::error_code refusal(std::string_view group, const std::string& device) {
  std::error_code error;
  auto socket = udp_socket::bind(group.starts_with('[') ? "[::]:0" : "0.0.0.0:0", error);
  if (!error) socket.join_group(endpoint::parse(std::string(group) + ":0"), device, error);
  return error;
}

class udp_group : public testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override {
    if (device.empty()) GTEST_SKIP() << "no interface carries groups of IPv6";
    std::error_code why;
    weft::run([&] { why = refusal(GetParam(), device); });
    if (why) GTEST_SKIP() << "no groups at " << device << ": " << why.message();
  }
  const bool v6 = GetParam().starts_with('[');
  const std::string device = ::device(v6);
  const char* const any = v6 ? "[::]:0" : "0.0.0.0:0";
};

TEST_P(udp_group, is_received_by_its_members_until_they_leave) {
  weft::run([&] {
    const bind_options shared{.reuse_address = true};
    auto sender = udp_socket::bind(any);
    send_by(sender, device, v6);
    auto one = udp_socket::bind(any, shared);
    auto other =
        udp_socket::bind(std::string(v6 ? "[::]:" : "0.0.0.0:") + std::to_string(one.local_endpoint().port()), shared);
    const endpoint group = at(GetParam(), one);
    one.join_group(group, device);
    other.join_group(group, device);
    sender.send_to(std::string_view("to both"), group);
    EXPECT_EQ(next(one), "to both");
    EXPECT_EQ(next(other), "to both");
    other.leave_group(group, device);
    sender.send_to(std::string_view("to one"), group);
    EXPECT_EQ(next(one), "to one");
    other.join_group(group, device);
    sender.send_to(std::string_view("to both again"), group);
    EXPECT_EQ(next(other), "to both again");  // it has not got what was for the other alone
  });
}

TEST_P(udp_group, of_others_is_not_received) {
  weft::run([&] {
    auto sender = udp_socket::bind(any);
    send_by(sender, device, v6);
    auto ours = udp_socket::bind(any, {.reuse_port = true, .reuse_address = true});
    auto theirs = udp_socket::bind(any, {.reuse_port = true, .reuse_address = true});
    const std::string_view another = v6 ? "[ff11::7702]" : "239.255.77.2";
    ours.join_group(at(GetParam(), ours), device);
    theirs.join_group(at(another, ours), device);  // on this machine the group is now taken in
    sender.send_to(std::string_view("to another group"), at(another, ours));
    sender.send_to(std::string_view("to ours"), at(GetParam(), ours));
    EXPECT_EQ(next(ours), "to ours");
  });
}

TEST_P(udp_group, that_was_joined_or_not_is_told) {
  weft::run([&] {
    auto socket = udp_socket::bind(any);
    const endpoint group = at(GetParam(), socket);
    std::error_code error;
    socket.leave_group(group, device, error);
    EXPECT_EQ(error, std::errc::address_not_available);
    EXPECT_NE(message_of([&] { socket.leave_group(group, device); }).find("not in the group"), std::string::npos);
    socket.join_group(group, device, error);
    EXPECT_FALSE(error) << error.message();
    const auto again = [&] { socket.join_group(group, device); };
    EXPECT_EQ(code_of(again), std::errc::address_in_use);
    EXPECT_NE(message_of(again).find("in the group already"), std::string::npos) << message_of(again);
    socket.leave_group(group, device);
  });
}

TEST_P(udp_group, names_what_was_wrong) {
  weft::run([&] {
    auto socket = udp_socket::bind(any);
    const endpoint group = at(GetParam(), socket);
    using namespace std::string_view_literals;
    for (const std::string_view unknown :
         {"no-such-device"sv, "lo\0"sv, "lo "sv, "a name of more than fifteen bytes"sv}) {
      const auto join = [&] { socket.join_group(group, unknown); };
      EXPECT_EQ(code_of(join), std::errc::no_such_device) << unknown;
      EXPECT_NE(message_of(join).find('"' + std::string(unknown.substr(0, 2))), std::string::npos) << message_of(join);
      EXPECT_NE(message_of(join).find("interface"), std::string::npos) << message_of(join);
      EXPECT_EQ(code_of([&] { socket.leave_group(group, unknown); }), std::errc::no_such_device) << unknown;
    }
    const endpoint single = at(v6 ? "[::1]" : "127.0.0.1", socket);
    const auto join = [&] { socket.join_group(single); };
    EXPECT_EQ(code_of(join), std::errc::invalid_argument);
    EXPECT_NE(message_of(join).find(single.address()), std::string::npos) << message_of(join);
    EXPECT_NE(message_of(join).find("224.0.0.0 to 239.255.255.255"), std::string::npos) << message_of(join);
    std::error_code error;
    socket.leave_group(single, error);
    EXPECT_EQ(error, std::errc::invalid_argument);
    socket.close();
    EXPECT_EQ(code_of([&] { socket.join_group(group, device); }), std::errc::operation_canceled);
    udp_socket none;
    EXPECT_EQ(code_of([&] { none.join_group(group, device); }), std::errc::bad_file_descriptor);
  });
}

TEST_P(udp_group, of_a_family_that_the_socket_does_not_speak_is_refused) {
  weft::run([&] {
    std::error_code error;
    auto socket = udp_socket::bind(v6 ? "127.0.0.1:0" : "[::1]:0", error);
    if (error) return;  // no IPv6 here
    const auto join = [&] { socket.join_group(at(GetParam(), socket), device); };
    EXPECT_EQ(code_of(join), std::errc::address_family_not_supported);
    EXPECT_NE(message_of(join).find(v6 ? "IPv4" : "IPv6"), std::string::npos) << message_of(join);
  });
}

TEST_P(udp_group, is_received_by_a_socket_on_every_address_of_both_families) {
  weft::run([&] {
    auto socket = udp_socket::bind(":0");
    auto sender = udp_socket::bind(any);
    send_by(sender, device, v6);
    socket.join_group(at(GetParam(), socket), device);
    sender.send_to(std::string_view("x"), at(GetParam(), socket));
    EXPECT_EQ(next(socket), "x");
  });
}

INSTANTIATE_TEST_SUITE_P(families, udp_group, testing::ValuesIn(groups),
                         [](const auto& of) { return std::string(of.param.starts_with('[') ? "v6" : "v4"); });

TEST(udp_group_zone, is_the_interface_where_none_is_named) {
  weft::run([] {
    const std::string named = device(true);
    if (named.empty()) GTEST_SKIP() << "no interface carries groups of IPv6";
    if (const auto why = refusal("[ff12::7703]", named)) GTEST_SKIP() << "no groups at " << named << why.message();
    auto socket = udp_socket::bind("[::]:0");
    const endpoint group = at("[ff12::7703%" + named + ']', socket);
    socket.join_group(group);
    std::error_code error;
    socket.join_group(group, named, error);  // the same
    EXPECT_EQ(error, std::errc::address_in_use);
    const endpoint elsewhere = at("[ff12::7703%" + std::to_string(if_nametoindex(named.c_str()) + 1) + ']', socket);
    EXPECT_EQ(code_of([&] { socket.join_group(elsewhere, named); }), std::errc::invalid_argument);
    EXPECT_NE(message_of([&] { socket.join_group(elsewhere, named); }).find("another interface"), std::string::npos);
  });
}

TEST(udp_broadcast, is_refused_until_it_is_asked_for) {
  weft::run([&] {
    auto sender = udp_socket::bind("127.0.0.1:0");
    auto receiver = udp_socket::bind("0.0.0.0:0");
    const endpoint everybody = at("127.255.255.255", receiver);
    const auto send = [&] { sender.send_to(std::string_view("x"), everybody); };
    EXPECT_EQ(code_of(send), std::errc::permission_denied);
    EXPECT_NE(message_of(send).find("set_broadcast(true)"), std::string::npos) << message_of(send);
    sender.set_broadcast(true);
    send();
    EXPECT_EQ(next(receiver), "x");
    std::error_code error = std::make_error_code(std::errc::io_error);
    sender.set_broadcast(false, error);
    EXPECT_FALSE(error);
    EXPECT_EQ(code_of(send), std::errc::permission_denied);
    sender.close();
    sender.set_broadcast(true, error);
    EXPECT_EQ(error, std::errc::operation_canceled);
    EXPECT_EQ(code_of([&] { sender.set_broadcast(true); }), std::errc::operation_canceled);
    EXPECT_EQ(code_of([] { udp_socket().set_broadcast(true); }), std::errc::bad_file_descriptor);
  });
}

}  // namespace
