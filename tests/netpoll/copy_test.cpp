// SPDX-License-Identifier: Apache-2.0
//
// io::copy between every two kinds of stream: all bytes in order, the end left to the caller, and errors told, whether
// it goes through a buffer or by splice.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <vector>

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

// A copy that stalls: by splice or through a buffer, its sink full or another's turn, its source silent. However it
// stalls, it ends at once when either end is closed or late, when it is cancelled, and says whose fault it was.
enum class stalled { by_a_full_sink, behind_another_writer, by_a_silent_source };

template <class In, class Out>
struct stalled_copy {
  In in;
  Out out;
  weft::scope others{weft::collect};
  std::error_code of_source, of_sink;
  weft::fiber<void> copier;

  stalled_copy(In i, Out o, stalled why) : in(std::move(i)), out(std::move(o)) {
    std::size_t waiting = 1;
    if (why != stalled::by_a_silent_source) {
      write_text(in.ours, "x");
      fill(out.ours);
    }
    if (why == stalled::behind_another_writer) {
      others.go([this] {
        std::error_code error;
        out.ours.write_all(std::string(1'000'000, 'y'), error);
      });
      until_waiting(1);
      waiting = 2;
    }
    copier = weft::spawn([this] { weft::io::copy(in.peers, out.ours, of_source, of_sink); });
    until_waiting(waiting);
  }
  ~stalled_copy() {
    out.peers.close();
    out.ours.close();
    others.cancel();
    others.join();
  }
};

template <class Make>
void expect_an_end_of(Make make) {
  const auto now = [] { return weft::clock::now() - 1ms; };
  for (const stalled why : {stalled::by_a_full_sink, stalled::behind_another_writer, stalled::by_a_silent_source}) {
    {
      auto it = make(why);
      it->in.peers.close();  // returns, too
      it->copier.join();
      EXPECT_EQ(it->of_source, std::errc::operation_canceled);
      EXPECT_FALSE(it->of_sink);
    }
    {
      auto it = make(why);
      it->out.ours.close();
      it->copier.join();
      EXPECT_EQ(it->of_sink, std::errc::operation_canceled);
      EXPECT_FALSE(it->of_source);
    }
    {
      auto it = make(why);
      it->in.peers.set_read_deadline(now());
      it->copier.join();
      EXPECT_EQ(it->of_source, std::errc::timed_out);
      EXPECT_FALSE(it->of_sink);
    }
    {
      auto it = make(why);
      it->in.peers.set_read_deadline(weft::clock::now() + 10ms);  // comes while it waits elsewhere
      it->copier.join();
      EXPECT_EQ(it->of_source, std::errc::timed_out);
    }
    {
      auto it = make(why);
      it->out.ours.set_write_deadline(now());
      it->copier.join();
      EXPECT_EQ(it->of_sink, std::errc::timed_out);
      EXPECT_FALSE(it->of_source);
    }
    {
      auto it = make(why);
      it->copier.cancel();
      it->copier.join();
      EXPECT_EQ(it->of_source, std::errc::operation_canceled);
      EXPECT_EQ(it->of_sink, std::errc::operation_canceled);
    }
  }
}

template <class In, class Out>
auto stalling(In in, Out out) {
  return [=](stalled why) { return std::make_unique<stalled_copy<decltype(in()), decltype(out())>>(in(), out(), why); };
}

const auto tcp_pair = [] { return connected_pair(); };
const auto pipe_ends = [] { return pipe_of(); };
const auto unix_ends = [] { return unix_of(); };

TEST(copy, that_stalls_between_sockets_ends_with_either_end) {
  weft::run([] {
    expect_an_end_of(stalling(tcp_pair, tcp_pair));
    expect_an_end_of(stalling(unix_ends, tcp_pair));
  });
}

TEST(copy, that_stalls_into_a_pipe_ends_with_either_end) {
  weft::run([] { expect_an_end_of(stalling(tcp_pair, pipe_ends)); });
}

TEST(copy, that_stalls_out_of_a_pipe_ends_with_either_end) {
  weft::run([] {
    expect_an_end_of(stalling(pipe_ends, tcp_pair));
    expect_an_end_of(stalling(pipe_ends, pipe_ends));
  });
}

TEST(copy, that_waits_for_room_leaves_its_source_to_others) {
  weft::run([] {
    for (const stalled why : {stalled::by_a_full_sink, stalled::behind_another_writer}) {
      auto it = stalling(tcp_pair, pipe_ends)(why);
      EXPECT_EQ(read_text(it->in.peers, 1), "x");
      it->in.peers.close();
      it->copier.join();
    }
  });
}

// Several who copy into one pipe, and nobody reads: each connection can be closed.
TEST(copy, of_many_into_one_stalled_pipe) {
  weft::run([] {
    auto out = pipe_of();
    fill(out.ours);
    std::vector<connection> all;
    for (int i = 0; i < 5; ++i) all.push_back(connected_pair());
    weft::scope s(weft::collect);
    for (auto& each : all) {
      write_text(each.ours, "data");
      s.go([&] {
        std::error_code error;
        weft::io::copy(each.peers, out.ours, error);
        EXPECT_EQ(error, std::errc::operation_canceled);
      });
    }
    until_waiting(all.size());
    for (auto& each : all) each.peers.close();
    s.join();
  });
}

TEST(copy, says_whose_error_it_was) {
  weft::run([] {
    auto in = connected_pair();
    auto out = pipe_of();
    const std::string peer = in.peers.remote_endpoint().to_string();
    in.peers.set_read_deadline(weft::clock::now() - 1ms);
    EXPECT_NE(message_of([&] { weft::io::copy(in.peers, out.ours); }).find("read from " + peer), std::string::npos);
    in.peers.set_read_deadline(weft::clock::time_point::max());
    out.peers.close();
    write_text(in.ours, "x");
    EXPECT_NE(message_of([&] { weft::io::copy(in.peers, out.ours); }).find("write to descriptor"), std::string::npos);
    std::error_code of_source, of_sink = std::make_error_code(std::errc::io_error);
    weft::net::fd none;
    weft::io::copy(none, out.ours, of_source, of_sink);
    EXPECT_EQ(of_source, std::errc::bad_file_descriptor);
    EXPECT_FALSE(of_sink);
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
