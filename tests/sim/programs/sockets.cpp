// SPDX-License-Identifier: Apache-2.0
// Sockets and pipes between fibers, under resets, full buffers, deadlines, cancellation and close.
#include "tests/sim/programs/sockets.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "tests/sim/watch.hpp"

namespace sim {

namespace {

// Clients send and receive at the same time; what comes back is what was sent.
void echoes() {
  weft::run({.maxprocs = up_to(4)}, [] {
    {
      echo_server server;
      weft::scope clients;
      const unsigned n = 1 + choose(5);
      for (unsigned c = 0; c < n; ++c)
        clients.go([&, c] {
          for (unsigned k = 1 + choose(3); k-- > 0;) {
            net::tcp_stream s = connect_somehow(server.where);
            const unsigned port = port_of(s);
            const std::size_t total = some_bytes();
            weft::scope sender;
            sender.go([&] { send_all(s, c + 16 * k, total, port); });
            receive_all(s, c + 16 * k, total, port);
            sender.join();
          }
        });
      clients.join();
      server.end();
    }
    no_file_is_left();
  });
}

// A byte there, a byte back: nothing but parks.
void ping_pong() {
  weft::run({.maxprocs = up_to(4)}, [] {
    no_resets();
    {
      echo_server server;
      weft::scope clients;
      const unsigned n = 1 + choose(4);
      for (unsigned c = 0; c < n; ++c)
        clients.go([&, c] {
          net::tcp_stream s = net::connect(server.where);
          for (unsigned i = 0; i < 30; ++i) {
            char b[3] = {byte_of(c, i), byte_of(c, i + 1), byte_of(c, i + 2)}, back[3];
            s.write_all(std::span<const char>(b, 3));
            expect(s.read_exactly(std::span<char>(back, 3)) == 3 && std::memcmp(b, back, 3) == 0, "an echo");
          }
        });
      clients.join();
      server.end();
    }
    no_file_is_left();
  });
}

// A listener is closed under those who accept, again and again; the numbers are given out anew at once.
void close_during_accept() {
  weft::run({.maxprocs = up_to(4)}, [] {
    for (unsigned round = 0; round < 5; ++round) {
      auto l = net::listen("127.0.0.1:0");
      const std::string where = l.local_endpoint().to_string();
      weft::scope s;
      unsigned ended = 0;
      const unsigned n = 1 + choose(3);
      for (unsigned i = 0; i < n; ++i)
        s.go([&] {
          std::error_code error;
          while (auto c = l.accept(error)) {
            char b;
            c->read_some(std::span<char>(&b, 1), error);
          }
          expect(error == std::errc::operation_canceled, "accept on a closed listener");
          ++ended;
        });
      for (unsigned i = 0; i < 3; ++i)
        s.go([&] {
          std::error_code error;
          auto c = net::connect(where, error);
          if (!error) c.write_all(std::span<const char>("x", 1), error);
        });
      if (maybe(2)) weft::sleep_for(std::chrono::microseconds(choose(300)));
      if (maybe(4)) block(choose(100'000));
      l.close();
      s.join();
      expect(ended == n, "those who accept");
    }
    no_file_is_left();
  });
}

// A stream is closed while others read, write and wait for their turn on it; beside it new ones take its number.
void close_during_io() {
  weft::run({.maxprocs = up_to(4)}, [] {
    no_resets();
    for (unsigned round = 0; round < 4; ++round) {
      pair p = connected_pair();
      weft::scope s;
      unsigned ended = 0;
      const unsigned readers = choose(3), writers = choose(3);
      for (unsigned i = 0; i < readers; ++i)
        s.go([&] {
          char b[8];
          std::error_code error;
          p.a.read_exactly(std::span<char>(b), error);
          expect(error == std::errc::operation_canceled || error == std::errc::bad_file_descriptor,
                 "a read that is closed");
          ++ended;
        });
      for (unsigned i = 0; i < writers; ++i)
        s.go([&] {
          const std::string much(3 * kernel::trouble().buffer + 1, 'x');
          std::error_code error;
          p.a.write_all(std::span<const char>(much.data(), much.size()), error);
          expect(error == std::errc::operation_canceled, "a write that is closed");
          ++ended;
        });
      if (maybe(2)) s.go([&] { p.b.write_some(std::span<const char>("y", 1)); });
      s.go([&] {
        pair q = connected_pair();
        weft::scope both;
        both.go([&] { send_all(q.a, 100 + round, 40, q.port); });
        receive_all(q.b, 100 + round, 40, q.port);
        both.join();
      });
      if (maybe(2)) weft::sleep_for(std::chrono::microseconds(choose(100)));
      p.a.close();
      s.join();
      expect(ended == readers + writers, "those inside");
    }
    no_file_is_left();
  });
}

// Reads that time out lose nothing.
void socket_deadlines() {
  weft::run({.maxprocs = up_to(4)}, [] {
    no_resets();
    pair p = connected_pair();
    weft::scope s;
    const std::size_t total = 30;
    s.go([&] {
      for (std::size_t i = 0; i < total; ++i) {
        const char c = byte_of(1, i);
        p.a.write_all(std::span<const char>(&c, 1));
        if (maybe(2)) weft::sleep_for(std::chrono::microseconds(choose(200)));
      }
    });
    bool stop = false;
    if (maybe(2))
      s.go([&] {
        while (!stop) {
          p.b.set_read_deadline(weft::clock::now() + std::chrono::microseconds(choose(100)));
          weft::sleep_for(std::chrono::microseconds(20 + choose(100)));
        }
      });
    std::size_t got = 0;
    while (got < total) {
      char b[4];
      std::error_code error;
      p.b.set_read_deadline(weft::clock::now() + std::chrono::microseconds(choose(150)));
      const std::size_t n = maybe(2) ? p.b.read_some(std::span<char>(b), error)
                                     : p.b.read_exactly(std::span<char>(b, 1 + choose(2)), error);
      expect(!error || error == std::errc::timed_out, "a read with a deadline");
      for (std::size_t i = 0; i < n; ++i) expect(b[i] == byte_of(1, got + i), "a byte that was not sent");
      got += n;
      expect(n != 0 || error, "an end before the end");
    }
    stop = true;
    s.join();
  });
}

// Fibers that read are cancelled; what comes later is whole.
void cancelled_reads() {
  weft::run({.maxprocs = up_to(4)}, [] {
    no_resets();
    pair p = connected_pair();
    const std::size_t total = 40;
    weft::scope sender;
    sender.go([&] { send_all(p.a, 7, total, p.port); });
    std::size_t got = 0;
    bool end = false;
    while (!end) {
      weft::scope s;
      s.go([&] {
        std::error_code error;
        while (!error && !end) {
          char b[5];
          const std::size_t n = p.b.read_some(std::span<char>(b, 1 + choose(5)), error);
          for (std::size_t k = 0; k < n; ++k) expect(b[k] == byte_of(7, got + k), "a byte that was not sent");
          got += n;
          end = n == 0 && !error;
        }
      });
      if (maybe(2)) weft::sleep_for(std::chrono::microseconds(choose(200)));
      if (!end) s.cancel();
      try {
        s.join();
      } catch (const weft::cancelled&) {
      }
      if (maybe(4)) weft::sleep_for(std::chrono::microseconds(choose(200)));
    }
    expect(got == total, "all bytes");
    sender.join();
  });
}

void datagrams() {
  weft::run({.maxprocs = up_to(4)}, [] {
    {
      auto a = net::udp_socket::bind("127.0.0.1:0");
      auto b = net::udp_socket::bind("127.0.0.1:0");
      weft::scope s;
      s.go([&] {
        for (int i = 0; i < 12; ++i) {
          char text[16];
          const int n = std::snprintf(text, sizeof text, "%d", i);
          a.send_to(std::span<const char>(text, static_cast<std::size_t>(n)), b.local_endpoint());
          if (maybe(3)) weft::yield();
        }
      });
      bool seen[12]{};
      for (int i = 0; i < 12; ++i) {
        char text[16]{};
        auto [n, from, cut] = b.recv_from(std::span<char>(text, 15));
        expect(n != 0 && from == a.local_endpoint(), "a datagram");
        const int which = std::atoi(text);
        expect(which >= 0 && which < 12 && !std::exchange(seen[which], true), "a datagram comes once");
      }
      s.join();
    }
    no_file_is_left();
  });
}

// A fiber and a plain thread on the two ends of a pipe, in both directions.
void pipes() {
  weft::run({.maxprocs = up_to(4)}, [] {
    {
      int there[2], back[2];
      expect(kernel::pipe2(there, 0) == 0 && kernel::pipe2(back, 0) == 0, "a pipe");
      const std::size_t total = some_bytes();
      foreign_thread plain([&] {
        for (;;) {
          char b[16];
          const ssize_t n = kernel::read(there[0], b, sizeof b);
          if (n < 0) {
            expect(errno == EINTR, "a raw read");
            continue;
          }
          if (n == 0) break;
          for (ssize_t sent = 0; sent < n;) {
            const ssize_t some = kernel::write(back[1], b + sent, static_cast<std::size_t>(n - sent));
            expect(some >= 0 || errno == EINTR, "a raw write");
            if (some > 0) sent += some;
          }
        }
        kernel::close(there[0]);
        kernel::close(back[1]);
      });
      net::fd out(there[1]), in(back[0]);
      weft::scope s;
      s.go([&] {
        for (std::size_t at = 0; at < total;) {
          char b[32];
          const std::size_t n = std::min<std::size_t>(total - at, 1 + choose(32));
          for (std::size_t i = 0; i < n; ++i) b[i] = byte_of(5, at + i);
          out.write_all(std::span<const char>(b, n));
          at += n;
        }
        out.close();
      });
      std::size_t got = 0;
      char b[20];
      while (std::size_t n = in.read_some(std::span<char>(b))) {
        for (std::size_t i = 0; i < n; ++i) expect(b[i] == byte_of(5, got + i), "a byte");
        got += n;
      }
      expect(got == total, "all bytes");
      s.join();
      weft::blocking([&] { plain.join(); });
    }
    no_file_is_left();
  });
}

// Nobody listens; a full queue of the listener; several runs with one poller; sockets that are open when run ends.
void odds_and_ends() {
  for (int r = 0; r < 3; ++r) {
    std::optional<net::tcp_stream> kept;
    weft::run({.maxprocs = up_to(4)}, [&] {
      std::error_code error;
      net::connect("127.0.0.1:9", error);
      expect(error == std::errc::connection_refused || kernel::resets() != 0, "nobody listens");
      echo_server server;
      weft::scope s;
      for (int i = 0; i < 6; ++i)
        s.go([&] {
          auto c = connect_somehow(server.where);
          const unsigned port = port_of(c);
          send_all(c, 9, 5, port);
          receive_all(c, 9, 5, port);
        });
      s.join();
      kept = connect_somehow(server.where);  // may be reset at once
      weft::go([&, fd = kept->native_handle()] { static_cast<void>(fd); });
      server.l.close();
      if (maybe(2)) kept.reset();
      server.each.cancel();
      server.loop.join();
      server.each.join();
    });
    kept.reset();
    no_file_is_left();
  }
}

// Many connections at a time, short ones: slots and numbers are used again while edges are under way.
void churn() {
  weft::run({.maxprocs = up_to(4)}, [] {
    {
      echo_server server;
      weft::scope clients;
      for (unsigned c = 0; c < 4; ++c)
        clients.go([&, c] {
          for (unsigned k = 0; k < 8; ++k) {
            net::tcp_stream s = connect_somehow(server.where);
            const unsigned port = port_of(s);
            std::error_code error;
            const char b = byte_of(c, k);
            s.write_all(std::span<const char>(&b, 1), error);
            if (error || maybe(3)) continue;  // closed with the answer under way
            char back = 0;
            const std::size_t n = s.read_some(std::span<char>(&back, 1), error);
            expect(kernel::was_reset(port) || (n == 1 && back == b), "an echo");
          }
        });
      clients.join();
      server.end();
    }
    no_file_is_left();
  });
}

// A writer that waits for room hears that nobody will read.
void reader_leaves() {
  weft::run({.maxprocs = up_to(4)}, [] {
    no_resets();
    const std::string much(3 * kernel::trouble().buffer + 1, 'x');
    const std::span<const char> all(much.data(), much.size());
    {
      int ends[2];
      expect(kernel::pipe2(ends, 0) == 0, "a pipe");
      net::fd out(ends[1]);
      weft::scope s;
      s.go([&] {
        std::error_code error;
        out.write_all(all, error);
        expect(error == std::errc::broken_pipe, "a write into a pipe without a reader");
      });
      if (maybe(2)) weft::sleep_for(std::chrono::microseconds(choose(100)));
      kernel::close(ends[0]);
      s.join();
    }
    {
      pair p = connected_pair();
      weft::scope s;
      s.go([&] {
        std::error_code error;
        while (!error) p.a.write_all(all, error);
        expect(is_reset(error), "a write to who has left");
      });
      if (maybe(2)) weft::sleep_for(std::chrono::microseconds(choose(100)));
      p.b.close();
      s.join();
    }
    no_file_is_left();
  });
}

// The first sockets of the process are opened by several at once.
void first_sockets() {
  weft::run({.maxprocs = up_to(4)}, [] {
    no_resets();
    weft::scope s;
    for (unsigned i = 1 + choose(3); i-- > 0;)
      s.go([] {
        pair p = connected_pair();
        weft::scope both;
        both.go([&] { send_all(p.a, 1, 10, p.port); });
        receive_all(p.b, 1, 10, p.port);
        both.join();
      });
    std::vector<foreign_thread> threads;
    for (unsigned i = choose(3); i-- > 0;)
      threads.emplace_back([] {
        auto a = net::udp_socket::bind("127.0.0.1:0");
        a.send_to(std::span<const char>("u", 1), a.local_endpoint());
        char b;
        expect(a.recv_from(std::span<char>(&b, 1)).bytes == 1 && b == 'u', "a datagram to itself");
      });
    weft::blocking([&] {
      for (auto& t : threads) t.join();
    });
    s.join();
  });
  no_file_is_left();
}

// Where the sleeper lies down there is no poller yet, and it is woken at the moment.
void first_descriptor_beside_a_wake() {
  weft::run({.maxprocs = 16}, [] {
    weft::set_maxprocs(1);  // who lies down looks at the timers of all sixteen first
    int ends[2];
    expect(kernel::pipe2(ends, 0) == 0, "a pipe");
    weft::event e;
    const auto until_it_lies_down = [] {
      while (!somebody_lies_in_the_poller()) compute(50);
    };
    foreign_thread opener([&] {
      until_it_lies_down();
      net::fd(ends[0]).close();
    });
    foreign_thread waker([&] {
      until_it_lies_down();
      compute(static_cast<instant>(choose(1'000)));
      e.set();
    });
    e.wait();
    kernel::close(ends[1]);
    weft::blocking([&] {
      opener.join();
      waker.join();
    });
  });
}

// A stream is closed in the middle of reads and writes that need not wait.
void close_while_it_flows() {
  weft::run({.maxprocs = 2 + static_cast<int>(choose(3))}, [] {
    no_resets();
    for (unsigned round = 0; round < 6; ++round) {
      pair p = connected_pair();
      weft::scope s;
      const auto ends_well = [](const std::error_code& e) {
        return !e || is_reset(e) || e == std::errc::operation_canceled || e == std::errc::bad_file_descriptor;
      };
      for (unsigned i = 1 + choose(2); i-- > 0;)
        s.go([&] {
          std::error_code error;
          while (!error) p.a.write_all(std::span<const char>("0123456789", 1 + choose(10)), error);
          expect(ends_well(error), "a write");
        });
      for (unsigned i = 1 + choose(2); i-- > 0;)
        s.go([&] {
          std::error_code error;
          char b[20];
          while (p.b.read_some(std::span<char>(b, 1 + choose(20)), error) != 0) {
          }
          expect(ends_well(error), "a read");
        });
      weft::scope closer;
      closer.go([&] {
        if (!maybe(3)) weft::sleep_for(std::chrono::microseconds(choose(40)));
        for (unsigned i = choose(4); i-- > 0;) weft::yield();
        (round % 2 == 0 ? p.a : p.b).close();
        auto next = net::udp_socket::bind("127.0.0.1:0");
        next.send_to(std::span<const char>("u", 1), next.local_endpoint());
        char c = 0;
        expect(next.recv_from(std::span<char>(&c, 1)).bytes == 1 && c == 'u', "a datagram");
        (round % 2 == 0 ? p.b : p.a).close();
      });
      closer.join();
      s.join();
    }
    no_file_is_left();
  });
}

// A deadline is moved nearer under who waits for a far one.
void nearer_deadline() {
  weft::run({.maxprocs = up_to(4)}, [] {
    no_resets();
    pair p = connected_pair();
    for (int i = 0; i < 4; ++i) {
      p.b.set_read_deadline(weft::clock::now() + 5s);
      instant asked = 0;
      weft::scope s;
      s.go([&] {
        if (maybe(2)) weft::sleep_for(20us);
        asked = now();
        p.b.set_read_deadline(weft::clock::now() + std::chrono::microseconds(choose(100)));
      });
      char b;
      std::error_code error;
      p.b.read_some(std::span<char>(&b, 1), error);
      expect(error == std::errc::timed_out, "a read times out");
      expect(asked != 0 && now() - asked < 1'000'000'000, "a deadline that was moved nearer");
      s.join();
    }
  });
}

// Some of what has come is left where it is, and no more comes until it was read, too.
void reads_in_pieces() {
  weft::run({.maxprocs = up_to(4)}, [] {
    no_resets();
    pair p = connected_pair();
    weft::scope s;
    s.go([&] {
      for (int i = 0; i < 10; ++i) {
        p.a.write_all(std::span<const char>("abcdefghijkl", 12));
        char back = 0;
        expect(p.a.read_exactly(std::span<char>(&back, 1)) == 1, "an answer");
      }
    });
    for (int i = 0; i < 10; ++i) {
      for (std::size_t got = 0; got < 12;) {
        char b[4];
        got += p.b.read_some(std::span<char>(b));
      }
      p.b.write_all(std::span<const char>("a", 1));
    }
    s.join();
  });
}

// Several write to one stream, and several read from it: each has its turn.
void several_on_a_side() {
  weft::run({.maxprocs = up_to(4)}, [] {
    no_resets();
    pair p = connected_pair();
    weft::scope readers, writers;
    int got = 0;
    for (int i = 0; i < 3; ++i) {
      writers.go([&] {
        for (int k = 0; k < 8; ++k) p.a.write_all(std::span<const char>("abcdefgh", 8));
      });
      readers.go([&] {
        char b[3];
        while (const std::size_t n = p.b.read_some(std::span<char>(b))) got += static_cast<int>(n);
      });
    }
    writers.join();
    p.a.close();
    readers.join();
    expect(got == 3 * 64, "all bytes");
  });
}

constexpr program all[] = {
    {"echoes", echoes},
    {"ping_pong", ping_pong},
    {"close_during_accept", close_during_accept},
    {"close_during_io", close_during_io},
    {"socket_deadlines", socket_deadlines},
    {"cancelled_reads", cancelled_reads},
    {"datagrams", datagrams},
    {"pipes", pipes},
    {"odds_and_ends", odds_and_ends},
    {"churn", churn},
    {"reader_leaves", reader_leaves},
    {"first_sockets", first_sockets},
    {"first_descriptor_beside_a_wake", first_descriptor_beside_a_wake},
    {"close_while_it_flows", close_while_it_flows},
    {"nearer_deadline", nearer_deadline},
    {"reads_in_pieces", reads_in_pieces},
    {"several_on_a_side", several_on_a_side},
};

}  // namespace

constinit const std::span<const program> programs_of_sockets = all;

}  // namespace sim
