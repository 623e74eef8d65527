// SPDX-License-Identifier: Apache-2.0
//
// io::copy between every two kinds of stream: all bytes in order, the end left to the caller, and errors told, whether
// it goes through a buffer or by splice.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <random>
#include <string>
#include <system_error>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::byte_stream;
using weft::net::fd;

struct pipe_pair {
  fd ours, peers;  // one way
};
pipe_pair pipe_of(int /*unused*/ = 0) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) abort();
  return {fd(ends[1]), fd(ends[0])};
}
struct unix_pair {
  weft::net::unix_stream ours, peers;
};
unix_pair unix_of() {
  static int number = 0;
  auto listener = weft::net::listen_unix("@weft-copy-" + std::to_string(getpid()) + '-' + std::to_string(++number));
  auto ours = weft::net::connect_unix(listener.path());
  return {std::move(ours), *listener.accept()};
}

void end_of(fd& s) { s.close(); }
template <class S>
void end_of(S& s) {
  s.shutdown_write();
}

std::string random_text(std::size_t size) {
  std::mt19937 random(11);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

// writer -> in.ours, in.peers -> copy -> out.ours, out.peers -> reader
template <class In, class Out>
void expect_a_copy(In in, Out out) {
  const std::string sent = random_text(1'500'000);
  weft::scope s;
  s.go([&] {
    std::size_t at = 0;
    for (std::size_t piece = 1; at < sent.size(); piece = piece * 3 % 90'001) {  // small ones and large ones
      const std::size_t n = std::min(piece, sent.size() - at);
      in.ours.write_all(std::span<const char>(sent).subspan(at, n));
      at += n;
    }
    end_of(in.ours);
  });
  s.go([&] {
    std::error_code error;
    EXPECT_EQ(weft::io::copy(in.peers, out.ours, error), sent.size());
    EXPECT_FALSE(error) << error.message();
    write_text(out.ours, "!");  // the end is the caller's to tell
    end_of(out.ours);
  });
  std::string got;
  std::array<char, 30'000> chunk;
  while (const std::size_t n = out.peers.read_some(chunk)) got.append(chunk.data(), n);
  s.join();
  EXPECT_TRUE(got == sent + '!');
}

TEST(copy, between_every_two_kinds) {
  weft::run([] {
    expect_a_copy(connected_pair(), connected_pair());
    expect_a_copy(connected_pair(), pipe_of());
    expect_a_copy(connected_pair(), unix_of());
    expect_a_copy(pipe_of(), connected_pair());
    expect_a_copy(pipe_of(), pipe_of());
    expect_a_copy(pipe_of(), unix_of());
    expect_a_copy(unix_of(), connected_pair());
    expect_a_copy(unix_of(), pipe_of());
    expect_a_copy(unix_of(), unix_of());
  });
}

TEST(copy, to_a_pipe_that_nobody_reads_is_an_error_and_no_signal) {
  weft::run([] {
    auto in = connected_pair();
    auto out = pipe_of();
    out.peers.close();
    write_text(in.ours, "x");
    EXPECT_EQ(code_of([&] { weft::io::copy(in.peers, out.ours); }), std::errc::broken_pipe);
  });
}

TEST(copy, from_a_pipe_to_a_dead_peer_is_an_error_and_no_signal) {
  weft::run([] {
    auto in = pipe_of();
    auto out = unix_of();
    out.peers.close();
    write_text(in.ours, "x");
    EXPECT_EQ(code_of([&] { weft::io::copy(in.peers, out.ours); }), std::errc::broken_pipe);
  });
}

TEST(copy, that_waits_for_more_leaves_its_sink_to_others) {
  weft::run([] {
    auto in = connected_pair();
    auto out = pipe_of();
    auto copier = weft::spawn([&] { return weft::io::copy(in.peers, out.ours); });
    write_text(in.ours, "a");
    EXPECT_EQ(read_text(out.peers, 1), "a");
    until_waiting(1);
    write_text(out.ours, "b");
    EXPECT_EQ(read_text(out.peers, 1), "b");
    in.ours.shutdown_write();
    EXPECT_EQ(copier.join(), 1u);
  });
}

TEST(copy, that_waits_for_room_leaves_its_source_to_others) {
  weft::run([] {
    auto in = connected_pair();
    auto out = pipe_of();
    fill(out.ours);
    write_text(in.ours, "x");
    auto copier = weft::spawn([&] { return code_of([&] { weft::io::copy(in.peers, out.ours); }); });
    until_waiting(1);
    in.peers.set_read_deadline(weft::clock::now() - 1ms);
    in.peers.close();  // does not wait for room in the pipe
    out.ours.close();
    EXPECT_EQ(copier.join(), std::errc::operation_canceled);
  });
}

class own_stream : public weft::net::tcp_stream {
 public:
  explicit own_stream(tcp_stream s) : tcp_stream(std::move(s)) {}
  std::size_t read_some(std::span<std::byte> to) { return counted(tcp_stream::read_some(to)); }
  std::size_t read_some(std::span<std::byte> to, std::error_code& error) {
    return counted(tcp_stream::read_some(to, error));
  }
  std::size_t bytes = 0;

 private:
  std::size_t counted(std::size_t n) {
    bytes += n;
    return n;
  }
};

TEST(copy, from_a_stream_that_the_program_has_derived_reads_as_that_one_does) {
  weft::run([] {
    auto in = connected_pair();
    auto out = pipe_of();
    write_text(in.ours, "abc");
    in.ours.shutdown_write();
    own_stream source(std::move(in.peers));
    EXPECT_EQ(weft::io::copy(source, out.ours), 3u);
    EXPECT_EQ(source.bytes, 3u);
  });
}

TEST(copy, is_cancelled_and_has_the_deadlines_of_its_streams) {
  weft::run([] {
    auto in = connected_pair();
    auto out = pipe_of();
    EXPECT_THROW(weft::with_timeout(1ms, [&] { weft::io::copy(in.peers, out.ours); }), weft::timed_out);
    in.peers.set_read_deadline(weft::clock::now() + 1ms);
    EXPECT_EQ(code_of([&] { weft::io::copy(in.peers, out.ours); }), std::errc::timed_out);
    in.peers.set_read_deadline(weft::clock::time_point::max());
    fill(out.ours);
    out.ours.set_write_deadline(weft::clock::now() + 1ms);
    write_text(in.ours, "x");
    std::error_code error;
    EXPECT_EQ(weft::io::copy(in.peers, out.ours, error), 0u);
    EXPECT_EQ(error, std::errc::timed_out);
    out.ours.set_write_deadline(weft::clock::time_point::max());
    auto copier = weft::spawn([&] { return code_of([&] { weft::io::copy(in.peers, out.ours); }); });
    until_waiting(1);
    out.ours.close();
    EXPECT_EQ(copier.join(), std::errc::operation_canceled);
  });
}

}  // namespace
