// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/kernel/tcp.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/sim/kernel/troubles.hpp"
#include "tests/sim/kernel/under_way.hpp"

namespace sim::kernel {

namespace {

std::vector<tcp_socket*> sockets;  // all that were ever made

}  // namespace

tcp_socket* new_tcp_socket() { return sockets.emplace_back(new tcp_socket); }

tcp_socket* listener_at(unsigned port) noexcept {
  for (tcp_socket* s : sockets)
    if (s->now_is == tcp_socket::is::listens && port_of(s->local) == port) return s;
  return nullptr;
}

std::size_t tcp_socket::room() const noexcept { return trouble().buffer - std::min(trouble().buffer, wire_size); }
bool tcp_socket::writable() const noexcept { return room() > 0 && room() >= wire_size / 2; }

// As tcp_poll.
std::uint32_t tcp_socket::state() noexcept {
  if (now_is == is::listens) return queue.empty() ? 0u : EPOLLIN | EPOLLRDNORM;
  std::uint32_t s = 0;
  if (now_is == is::fresh || now_is == is::over || (in_ended && out_ended)) s |= EPOLLHUP;
  if (in_ended) s |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
  if (now_is != is::connects) {
    if (!in.empty()) s |= EPOLLIN | EPOLLRDNORM;
    if (out_ended || writable())
      s |= EPOLLOUT | EPOLLWRNORM;
    else
      no_room_seen = true;
  }
  if (error != 0) s |= EPOLLERR;
  return s;
}

int tcp_socket::take_error() noexcept { return std::exchange(error, 0); }

// As tcp_recvmsg: what is there, then the end, then the error.
ssize_t tcp_socket::take(char* to, std::size_t n) noexcept {
  if (now_is == is::listens || now_is == is::fresh) return -ENOTCONN;
  if (!in.empty()) {
    n = std::min(n, in.size());
    std::copy_n(in.begin(), n, to);
    in.erase(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(n));
    if (peer != nullptr && peer->blocked) {
      peer->blocked = false;
      peer->pump_at(arrival_time(0));
    }
    return static_cast<ssize_t>(n);
  }
  if (fin_came) return 0;
  if (error != 0) return -take_error();
  if (in_ended) return 0;
  return now_is == is::over ? -ENOTCONN : -EAGAIN;
}

ssize_t tcp_socket::put(const char* from, std::size_t n) noexcept {
  if (error != 0) return -take_error();
  if (now_is == is::connects) return -EAGAIN;
  if (out_ended || now_is != is::connected) return -EPIPE;
  if (n == 0) return 0;
  std::size_t some = std::min(n, room());
  if (some > 1 && one_in(trouble().short_write_one_in)) some = 1 + choose(static_cast<std::uint32_t>(some));
  if (some < n) no_room_seen = true;
  if (some == 0) return -EAGAIN;
  put_on_wire(std::string(from, some), false);
  return static_cast<ssize_t>(some);
}

void tcp_socket::put_on_wire(std::string data, bool fin) noexcept {
  const instant when = arrival_time(wire.empty() ? 0 : wire.back().at);
  wire_size += data.size();
  wire.push_back({when, std::move(data), fin});
  if (!blocked) pump_at(when);
}

void tcp_socket::clear_wire() noexcept {
  wire.clear();
  wire_size = 0;
}

// One at a time: each that comes too early asks for another.
void tcp_socket::pump_at(instant when) noexcept {
  if (next_pump >= 0 && next_pump <= when) return;
  next_pump = when;
  later(
      when, [](void* self) { static_cast<tcp_socket*>(self)->pump(); }, this);
}

// What has come to its time goes to the other end's buffer, as far as there is room.
void tcp_socket::pump() noexcept {
  if (next_pump <= now()) next_pump = -1;
  while (!wire.empty() && !blocked) {
    segment& first = wire.front();
    if (first.at > now()) {
      pump_at(first.at);
      return;
    }
    if (peer->now_is != is::connected) {  // reset meanwhile
      clear_wire();
      return;
    }
    if (!first.data.empty()) {
      if (peer->refuses_data()) {
        peer->come_reset();
        peer->tell_reset();
        return;
      }
      const std::size_t free = trouble().buffer - std::min(trouble().buffer, peer->in.size());
      const std::size_t some = std::min(first.data.size(), free);
      peer->in.insert(peer->in.end(), first.data.begin(), first.data.begin() + static_cast<std::ptrdiff_t>(some));
      first.data.erase(0, some);
      wire_size -= some;
      blocked = !first.data.empty();
      if (some != 0) notify(peer, EPOLLIN | EPOLLPRI | EPOLLRDNORM);
      if (no_room_seen && writable()) {
        no_room_seen = false;
        notify(this, EPOLLOUT | EPOLLWRNORM);
      }
      if (blocked) return;
    }
    const bool fin = first.fin;
    wire.pop_front();
    if (fin) {
      peer->come_fin();
      return;
    }
  }
}

// As tcp_rcv_state_process in FIN_WAIT1 and FIN_WAIT2.
bool tcp_socket::refuses_data() const noexcept { return orphan || (in_ended && out_ended); }

// As tcp_fin; and the acknowledgement, at the other end.
void tcp_socket::come_fin() noexcept {
  in_ended = fin_came = true;
  if (peer->fin_came) now_is = peer->now_is = is::over;
  notify(this, 0);
  notify(peer, 0);
}

// As tcp_reset.
void tcp_socket::come_reset() noexcept {
  if (now_is != is::connected) return;
  now_is = is::over;
  error = fin_came && !out_ended ? EPIPE : ECONNRESET;
  in_ended = out_ended = true;
  clear_wire();
  notify(this, 0);
}

void tcp_socket::send_fin() noexcept {
  if (out_ended) return;
  out_ended = true;
  if (now_is == is::connected) put_on_wire({}, true);
}

void tcp_socket::send_reset() noexcept {
  now_is = is::over;
  in_ended = out_ended = true;
  clear_wire();
  if (peer != nullptr) tell_reset();
}

void tcp_socket::tell_reset() noexcept {
  later(
      arrival_time(0), [](void* other) { static_cast<tcp_socket*>(other)->come_reset(); }, peer);
}

void tcp_socket::begin_to_connect() noexcept {
  now_is = is::connects;
  later(
      arrival_time(0), [](void* self) { static_cast<tcp_socket*>(self)->syn(); }, this);
}

void tcp_socket::listen(std::size_t most_waiting) noexcept {
  now_is = is::listens;
  queue_max = most_waiting;
}

// The SYN has come to the other side.
void tcp_socket::syn() noexcept {
  if (now_is != is::connects || orphan) return;
  tcp_socket* const l = listener_at(port_of(remote));
  if (l == nullptr) return refused();
  if (l->queue.size() > l->queue_max) {  // it is dropped, and comes again
    const instant again = now() + syn_again_after;
    syn_again_after *= 2;
    return later(
        again, [](void* self) { static_cast<tcp_socket*>(self)->syn(); }, this);
  }
  tcp_socket* const child = new_tcp_socket();
  child->now_is = now_is = is::connected;
  child->local = remote;
  child->remote = local;
  child->bound = true;
  child->peer = this;
  peer = child;
  l->queue.push_back(child);
  notify(this, 0);
  notify(l, EPOLLIN | EPOLLRDNORM);
}

void tcp_socket::refused() noexcept {
  now_is = is::over;
  error = ECONNREFUSED;
  in_ended = out_ended = true;
  notify(this, 0);
}

ssize_t tcp_socket::accept(bool nonblock, sockaddr_in& peer_address) noexcept {
  if (now_is != is::listens) return -EINVAL;
  int error_now = 0;
  if (one_in(trouble().no_accept_one_in)) {
    constexpr int errors[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS};
    error_now = errors[choose(4)];
  }
  if (!number_is_free()) error_now = EMFILE;
  if (error_now == EMFILE || error_now == ENFILE) return -error_now;
  if (queue.empty()) return -EAGAIN;
  if (error_now != 0) return -error_now;
  tcp_socket* const child = queue.front();
  if (one_in(trouble().aborted_one_in)) {
    note_reset(port_of(child->local), port_of(child->remote));
    child->send_reset();
    queue.pop_front();
    return -ECONNABORTED;
  }
  const int number = give_number(child, nonblock);
  if (number < 0) return number;
  queue.pop_front();
  peer_address = child->remote;
  return number;
}

// As tcp_close, and inet_csk_listen_stop.
void tcp_socket::release() noexcept {
  orphan = true;
  switch (now_is) {
    case is::listens:
      now_is = is::over;
      for (tcp_socket* child : queue) child->send_reset();
      queue.clear();
      break;
    case is::connected:
      if (in.empty())
        send_fin();
      else
        send_reset();
      break;
    default:
      now_is = is::over;
  }
}

void reset_some_connection() noexcept {
  std::vector<tcp_socket*> open;
  for (tcp_socket* s : sockets)
    if (s->now_is == tcp_socket::is::connected && s->peer->now_is == tcp_socket::is::connected && !s->orphan)
      open.push_back(s);
  if (open.empty()) return;
  tcp_socket* const s = open[choose(static_cast<std::uint32_t>(open.size()))];
  note_reset(port_of(s->local), port_of(s->remote));
  s->come_reset();
  s->peer->come_reset();
}

}  // namespace sim::kernel
