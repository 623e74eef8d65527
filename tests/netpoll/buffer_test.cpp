// SPDX-License-Identifier: Apache-2.0
//
// What every call that reads or writes takes as its buffer: spans of std::byte, char or unsigned char and what converts
// to one, but no string literal, whose zero byte would go along.

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/file.hpp>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace weft_test;
using weft::net::endpoint;
using weft::net::tcp_stream;
using weft::net::udp_socket;
using weft::net::unix_stream;

// Each call in both forms. F is called with the object, the buffer and what follows it.
template <class Object, class Buffer, class F>
concept takes = requires(Object& o, Buffer&& b, F f, std::error_code& e) {
  f(o, std::forward<Buffer>(b));
  f(o, std::forward<Buffer>(b), e);
};

#define WEFT_CALL(expression) [](auto& o, auto&& b, auto&... e) -> decltype(o.expression) { return o.expression; }
using read_some = decltype(WEFT_CALL(read_some(std::forward<decltype(b)>(b), e...)));
using read_exactly = decltype(WEFT_CALL(read_exactly(std::forward<decltype(b)>(b), e...)));
using write_some = decltype(WEFT_CALL(write_some(std::forward<decltype(b)>(b), e...)));
using write_all = decltype(WEFT_CALL(write_all(std::forward<decltype(b)>(b), e...)));
using recv_from = decltype(WEFT_CALL(recv_from(std::forward<decltype(b)>(b), e...)));
using send_to = decltype(WEFT_CALL(send_to(std::forward<decltype(b)>(b), endpoint(), e...)));
using send = decltype(WEFT_CALL(send(std::forward<decltype(b)>(b), e...)));
using recv = decltype(WEFT_CALL(recv(std::forward<decltype(b)>(b), e...)));
using recv_fds = decltype(WEFT_CALL(recv_fds(std::forward<decltype(b)>(b), e...)));
using send_fds = decltype(WEFT_CALL(send_fds(std::forward<decltype(b)>(b), std::span<const int>(), e...)));
using read_at = decltype(WEFT_CALL(read_at(0, std::forward<decltype(b)>(b), e...)));
using write_at = decltype(WEFT_CALL(write_at(0, std::forward<decltype(b)>(b), e...)));
#undef WEFT_CALL

template <class Object, class F, class... Buffers>
constexpr bool takes_each = (takes<Object, Buffers, F> && ...);
template <class Object, class F, class... Buffers>
constexpr bool takes_none = (!takes<Object, Buffers, F> && ...);

template <class T>
using vector = std::vector<T>;
template <class T>
using array = std::array<T, 4>;
template <class T>
using raw = T[4];
template <class T>
using span = std::span<T>;

template <class Object, class F, class T>
constexpr bool reads_into = takes_each<Object, F, vector<T>&, array<T>&, raw<T>&, span<T>>;

template <class Object, class F, class T>
constexpr bool reads_not_into = takes_none<Object, F, vector<T>, const vector<T>&, const array<T>&, span<const T>>;

template <class Object, class F, class T>
constexpr bool writes_from = takes_each<Object, F, vector<T>&, const vector<T>&, array<T>&, const array<T>&, raw<T>&,
                                        span<T>, span<const T>, span<const T>&>;

template <class Object, class F>
concept reads_all = reads_into<Object, F, std::byte> && reads_not_into<Object, F, std::byte> &&
    reads_into<Object, F, char> && reads_not_into<Object, F, char> && reads_into<Object, F, unsigned char> &&
    reads_not_into<Object, F, unsigned char> && takes_each<Object, F, std::string&> &&
    takes_none<Object, F, std::string_view, const char (&)[5]>;

template <class Object, class F>
concept writes_all =
    writes_from<Object, F, std::byte> && writes_from<Object, F, char> && writes_from<Object, F, unsigned char> &&
    takes_each<Object, F, std::string&, const std::string&, std::string, std::string_view> &&
    takes_none<Object, F, const char (&)[5], const char (&)[1]>;

// With Asio's buffer sequences as well, read_some and write_some of a tcp_stream take more than these two.
template <class Object, class F>
constexpr bool takes_no_others = takes_none<Object, F, char*, const char*, std::vector<int>&, int>;

static_assert(reads_all<tcp_stream, read_some> && writes_all<tcp_stream, write_some>);
static_assert(reads_all<weft::net::byte_stream, read_some> && takes_no_others<weft::net::byte_stream, read_some>);
static_assert(reads_all<tcp_stream, read_exactly> && takes_no_others<tcp_stream, read_exactly>);
static_assert(writes_all<weft::net::byte_stream, write_some> && takes_no_others<weft::net::byte_stream, write_some>);
static_assert(writes_all<tcp_stream, write_all> && takes_no_others<tcp_stream, write_all>);
static_assert(reads_all<weft::net::fd, read_some> && writes_all<weft::net::fd, write_some>);
static_assert(reads_all<udp_socket, recv_from> && takes_no_others<udp_socket, recv_from>);
static_assert(writes_all<udp_socket, send_to> && takes_no_others<udp_socket, send_to>);
static_assert(reads_all<udp_socket, recv> && takes_no_others<udp_socket, recv>);
static_assert(writes_all<udp_socket, send> && takes_no_others<udp_socket, send>);
static_assert(reads_all<unix_stream, recv_fds> && takes_no_others<unix_stream, recv_fds>);
static_assert(writes_all<unix_stream, send_fds> && takes_no_others<unix_stream, send_fds>);
static_assert(reads_all<weft::file, read_at> && takes_no_others<weft::file, read_at>);
static_assert(writes_all<weft::file, write_at> && takes_no_others<weft::file, write_at>);

// The members of arrays of datagrams are one type, which takes all of them.
struct place {
  weft::net::incoming in;
  weft::net::outgoing out;
};
using of_incoming = decltype([](place& o, auto&& b, auto&...) -> decltype(o.in = {std::forward<decltype(b)>(b)}) {
  return o.in = {std::forward<decltype(b)>(b)};
});
using of_outgoing = decltype([](place& o, auto&& b, auto&...) -> decltype(o.out = {std::forward<decltype(b)>(b), {}}) {
  return o.out = {std::forward<decltype(b)>(b), {}};
});
static_assert(reads_all<place, of_incoming> && takes_no_others<place, of_incoming>);
static_assert(writes_all<place, of_outgoing> && takes_no_others<place, of_outgoing>);

TEST(buffer, of_unsigned_char_carries_bytes_through_a_stream) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    const std::vector<std::uint8_t> sent{0, 127, 128, 255};
    EXPECT_EQ(ours.write_all(sent), 4u);
    EXPECT_EQ(ours.write_some(std::span(sent).first(1)), 1u);
    std::vector<std::uint8_t> got(4);
    EXPECT_EQ(peers.read_exactly(got), 4u);
    EXPECT_EQ(got, sent);
    std::array<unsigned char, 8> more;
    std::error_code error;
    EXPECT_EQ(peers.read_some(more, error), 1u);
    EXPECT_EQ(more[0], 0);
    char raw[8];
    EXPECT_EQ(ours.write_all({"pair", 2}), 2u);  // a pointer and a length
    EXPECT_EQ(peers.read_some({raw, sizeof raw}), 2u);
    EXPECT_EQ(std::string(raw, 2), "pa");
  });
}

TEST(buffer, of_unsigned_char_carries_datagrams) {
  weft::run([] {
    auto socket = udp_socket::bind("127.0.0.1:0");
    const std::array<std::uint8_t, 3> sent{1, 2, 3};
    socket.send_to(sent, socket.local_endpoint());
    std::array<std::uint8_t, 3> got{};
    EXPECT_EQ(socket.recv_from(got).bytes, 3u);
    EXPECT_EQ(got, sent);
  });
}

TEST(buffer, of_a_string_goes_without_a_zero_byte) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    EXPECT_EQ(ours.write_all(std::string_view("PING\r\n")), 6u);
    EXPECT_EQ(ours.write_all(std::string("PONG")), 4u);
    EXPECT_EQ(read_text(peers, 10), "PING\r\nPONG");
  });
}

}  // namespace
