// SPDX-License-Identifier: Apache-2.0
// Chat rooms over WebSocket, with a page: Boost.Beast on fibers, a fiber that reads and one that writes for each
// member.
//
//   GET /          the page; /?room=R&name=N goes straight in
//   /rooms/ROOM    the WebSocket. Its first message is the member's name, each further one is said in the room.
//
// What is said goes into a channel for each member, and the member's writer takes it from there. Nobody waits for a
// slow member: once its channel is full it is cut off, and the room goes on. Members that say nothing are pinged; those
// that do not even answer that are cut off, too. On SIGINT and SIGTERM all are told that the server goes away.
//
//   chat [--port N]
#include <utility>

#include <weft/asio.hpp>
#include <weft/weft.hpp>

#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;
using namespace std::chrono_literals;
using boost::beast::error_code;
using weft::net::tcp_stream;

constexpr std::size_t backlog = 256;     // messages that a member may be behind
constexpr std::size_t most_text = 4096;  // bytes of a message
constexpr std::size_t most_name = 32;
constexpr auto ping_after = 20s;  // without anything to send
constexpr auto patience = 60s;    // with a member that sends nothing, pongs included
constexpr auto write_time = 10s;  // for one message to leave

constexpr std::string_view page = R"html(<!doctype html>
<meta charset="utf-8"><title>chat</title>
<form id="enter"><input id="room" placeholder="room" required pattern="[A-Za-z0-9_-]{1,32}">
<input id="name" placeholder="your name" required maxlength="32"><button>enter</button></form>
<form id="speak" hidden><input id="text" autocomplete="off" size="60"><button>say</button></form>
<pre id="log"></pre>
<script>
const at = id => document.getElementById(id);
const show = line => at('log').append(line + '\n');
function enter(room, name, say) {
  const socket = new WebSocket(`ws://${location.host}/rooms/${room}`);
  socket.onopen = () => { socket.send(name); if (say) socket.send(say); };
  socket.onmessage = message => show(message.data);
  socket.onclose = end => { at('speak').hidden = true; show(`-- the end (${end.code} ${end.reason})`); };
  at('enter').hidden = true;
  at('speak').hidden = false;
  at('speak').onsubmit = event => { event.preventDefault(); socket.send(at('text').value); at('text').value = ''; };
}
at('enter').onsubmit = event => { event.preventDefault(); enter(at('room').value, at('name').value); };
const asked = new URLSearchParams(location.search);
if (asked.has('room') && asked.has('name')) enter(asked.get('room'), asked.get('name'), asked.get('say'));
</script>
)html";

/// Gives the turn up while it lives, and has it again however the wait ends: a cancelled one throws.
class others_turn {
 public:
  explicit others_turn(weft::mutex& turn) : turn_(turn) { turn_.unlock(); }
  ~others_turn() { turn_.lock(); }
  others_turn(const others_turn&) = delete;
  others_turn& operator=(const others_turn&) = delete;

 private:
  weft::mutex& turn_;
};

/// The connection below a WebSocket that one fiber reads from and another writes to. websocket::stream is for one fiber
/// at a time (a read answers pings, and so writes). Whoever uses it holds `turn`; the reader gives it up while it waits
/// for bytes, which is the one moment in a read when nothing of the stream is half done.
class taking_turns {
 public:
  using executor_type = tcp_stream::executor_type;
  using lowest_layer_type = tcp_stream;

  explicit taking_turns(tcp_stream stream) : stream_(std::move(stream)) {}

  executor_type get_executor() noexcept { return stream_.get_executor(); }
  lowest_layer_type& lowest_layer() noexcept { return stream_; }

  template <class Buffers>
  std::size_t read_some(const Buffers& to, error_code& error) {
    stream_.set_read_deadline(std::min(weft::clock::now() + patience, end_));
    const others_turn meanwhile(turn);
    return stream_.read_some(to, error);
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& from, error_code& error) {
    stream_.set_write_deadline(std::min(weft::clock::now() + write_time, end_));
    return stream_.write_some(from, error);
  }
  template <class Buffers>
  std::size_t read_some(const Buffers& to) {
    return thrown([&](error_code& error) { return read_some(to, error); });
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& from) {
    return thrown([&](error_code& error) { return write_some(from, error); });
  }

  /// From then on nothing works any more. For who has the turn.
  void end_at(weft::clock::time_point when) {
    end_ = when;
    stream_.set_deadline(when);
  }

  weft::mutex turn;

 private:
  template <class F>
  static std::size_t thrown(F f) {
    error_code error;
    const std::size_t n = f(error);
    if (error) throw boost::system::system_error(error);
    return n;
  }

  tcp_stream stream_;
  weft::clock::time_point end_ = weft::clock::time_point::max();
};

// Beast asks for it at the end of a session.
void teardown(boost::beast::role_type role, taking_turns& connection, error_code& error) {
  connection.end_at(weft::clock::now() + 1s);
  weft::net::teardown(role, connection.lowest_layer(), error);
}

using message = std::shared_ptr<const std::string>;  // one text for all who hear it

struct member {
  explicit member(tcp_stream stream) : socket(std::move(stream)) {}
  websocket::stream<taking_turns> socket;
  weft::chan<message> outbox{backlog};
};

class room {
 public:
  void enter(member& m) {
    const std::lock_guard lock(mutex_);
    members_.push_back(&m);
  }
  void leave(member& m) {
    const std::lock_guard lock(mutex_);
    std::erase(members_, &m);
  }
  /// Never waits. All members hear all that is said in the same order.
  void say(std::string text) {
    const auto said = std::make_shared<const std::string>(std::move(text));
    const std::lock_guard lock(mutex_);
    for (member* m : members_)
      if (m->outbox.try_send(said) == weft::chan_status::full)
        m->socket.next_layer().lowest_layer().set_deadline(weft::clock::now());  // all that it waits for fails
  }

 private:
  weft::mutex mutex_;
  std::vector<member*> members_;
};

/// A room exists as long as somebody holds it.
class house {
 public:
  std::shared_ptr<room> find(const std::string& name) {
    const std::lock_guard lock(mutex_);
    std::erase_if(rooms_, [](const auto& each) { return each.second.expired(); });
    auto found = rooms_[name].lock();
    if (!found) rooms_[name] = found = std::make_shared<room>();
    return found;
  }
  weft::event closing;

 private:
  weft::mutex mutex_;
  std::map<std::string, std::weak_ptr<room>> rooms_;
};

/// The next message; empty at the end of the session. The caller has the turn, and gives it up while it waits.
std::string next_message(member& m) {
  boost::beast::flat_buffer buffer;
  error_code error;
  do {
    buffer.clear();
    m.socket.read(buffer, error);
    if (!error && !m.socket.got_text()) m.socket.close({websocket::close_code::unknown_data, "only text"}, error);
  } while (!error && m.socket.is_open() && buffer.size() == 0);
  return error || !m.socket.is_open() ? std::string() : boost::beast::buffers_to_string(buffer.data());
}

/// Sends what is in the outbox until that is closed and empty, or the connection fails.
void write_all(member& m, house& home) {
  auto& transport = m.socket.next_layer();
  bool open = true;
  while (open) {
    std::vector<message> next;
    bool ping = false, going_away = false;
    weft::select(weft::on_recv(m.outbox,
                               [&](std::optional<message> got) {
                                 if (got)
                                   next.push_back(std::move(*got));
                                 else
                                   open = false;
                               }),
                 weft::on_event(home.closing, [&] { going_away = true; }),
                 weft::on_timeout(ping_after, [&] { ping = true; }));
    const std::lock_guard lock(transport.turn);
    error_code error;
    if (!next.empty()) m.socket.write(boost::asio::buffer(*next.front()), error);
    if (ping) m.socket.ping({}, error);
    if (going_away) {
      // By hand, since the stream's own close would read, which is the reader's: a close frame with the code 1001.
      transport.write_some(boost::asio::buffer("\x88\x02\x03\xe9", 4), error);
      transport.end_at(weft::clock::now() + 1s);  // time for the member's answer
      open = false;
    }
    if (error) {
      transport.end_at(weft::clock::now());
      open = false;
    }
  }
}

/// A member of a room, until the end of the block.
class presence {
 public:
  presence(member& m, room& here) : member_(m), room_(here) { room_.enter(member_); }
  ~presence() {
    room_.leave(member_);
    member_.outbox.close();
  }
  presence(const presence&) = delete;
  presence& operator=(const presence&) = delete;

 private:
  member& member_;
  room& room_;
};

void attend(member& m, room& here, house& home) {
  weft::scope s;  // ahead of the lock: it ends after that
  std::unique_lock turn(m.socket.next_layer().turn);
  const std::string name = next_message(m);
  error_code error;
  if (name.empty()) return;
  if (name.size() > most_name) {
    m.socket.close({websocket::close_code::policy_error, "the first message is a name of at most 32 bytes"}, error);
    return;
  }
  {
    const presence among_them(m, here);
    s.go([&] { write_all(m, home); });
    here.say("-- " + name + " is here");
    for (std::string said = next_message(m); !said.empty(); said = next_message(m)) {
      here.say(name + ": " + said);
      weft::yield();  // or one who says much at once would outrun the writers of the rest
    }
  }
  here.say("-- " + name + " has left");
  turn.unlock();
  s.join();
}

/// The room's name in a target; empty if it is none.
std::string room_in(std::string_view target) {
  constexpr std::string_view front = "/rooms/";
  const std::string_view name = target.starts_with(front) ? target.substr(front.size()) : std::string_view();
  const bool good =
      name.size() <= most_name && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
      });
  return good ? std::string(name) : std::string();
}

void serve(tcp_stream stream, house& home) {
  boost::beast::flat_buffer buffer(64 * 1024);
  http::request<http::empty_body> request;
  error_code error;
  stream.set_deadline(weft::clock::now() + write_time);
  http::read(stream, buffer, request, error);
  if (error) return;
  const std::string_view target(request.target().data(), request.target().size());
  const std::string_view origin(request[http::field::origin].data(), request[http::field::origin].size());
  const auto host = request[http::field::host];
  const std::string name = room_in(target);
  // A page from elsewhere must not speak for whoever looks at it.
  const bool own_page = origin.empty() || origin == "http://" + std::string(host);
  if (websocket::is_upgrade(request) && !name.empty() && own_page) {
    const auto here = home.find(name);
    member m(std::move(stream));
    m.socket.read_message_max(most_text);
    {
      const std::lock_guard turn(m.socket.next_layer().turn);
      m.socket.accept(request, error);
    }
    if (!error) attend(m, *here, home);
    return;
  }
  const bool root = target == "/" || target.starts_with("/?");
  http::response<http::string_body> reply(!own_page ? http::status::forbidden
                                          : root    ? http::status::ok
                                                    : http::status::not_found,
                                          request.version());
  reply.set(http::field::content_type, root ? "text/html; charset=utf-8" : "text/plain");
  reply.body() = root && own_page ? std::string(page) : "there is / and, for WebSocket, /rooms/NAME\n";
  reply.keep_alive(false);
  reply.prepare_payload();
  http::write(stream, reply, error);
}

void serve(std::uint16_t port) {
  const auto end_signals = weft::signals({SIGINT, SIGTERM});  // from here on they do not end the process
  auto listener = weft::net::listen("127.0.0.1:" + std::to_string(port));
  std::printf("listening on http://%s\n", listener.local_endpoint().to_string().c_str());
  std::fflush(stdout);
  house home;
  weft::scope connections(weft::collect, {.limit = 20'000});
  connections.go([&] {
    end_signals.recv();
    home.closing.set();
    listener.close();
  });
  while (auto stream = listener.accept())
    connections.go([&, stream = std::move(*stream)]() mutable { serve(std::move(stream), home); });
  try {
    weft::with_timeout(5s, [&] { connections.join(); });
  } catch (const weft::timed_out&) {
    connections.cancel();  // such as who has not said his name yet
    connections.join();
  }
}

std::uint16_t port_from(int argc, char** argv) {
  std::uint16_t port = 8080;
  if (argc == 1) return port;
  if (argc != 3 || std::string_view(argv[1]) != "--port") throw std::invalid_argument("usage: chat [--port N]");
  const char* const end = argv[2] + std::strlen(argv[2]);
  if (const auto [rest, error] = std::from_chars(argv[2], end, port); error == std::errc{} && rest == end) return port;
  throw std::invalid_argument("--port " + std::string(argv[2]) + ": expected a number from 0 (any free port) to 65535");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    weft::run([port = port_from(argc, argv)] { serve(port); });
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "chat: %s\n", e.what());
    return 2;
  }
}
