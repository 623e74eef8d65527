// SPDX-License-Identifier: Apache-2.0
//
// A channel under the model checker, with a book of what was sent and received, for its own model and that of select.
#pragma once

#include "tests/model/wait_env.hpp"

#include "runtime/sync/basic_chan.hpp"

namespace model {

using weft::chan_status;
using weft::rt::wait_outcome;

// What a channel moves about: a slot that holds a value, or nothing (0).
struct cell {
  cell() = default;
  explicit cell(int v) : value(v) {}
  model::frame_var<int> value{0};
};

inline void move_cell(void* to, void* from) noexcept {
  cell& target = *static_cast<cell*>(to);
  cell& source = *static_cast<cell*>(from);
  mc::check(target.value == 0, "a value goes to where there is none");
  mc::check(source.value != 0, "a value comes from where there is one");
  target.value = int{source.value};
  source.value = 0;
}
inline void destroy_cell(void* at) noexcept {
  mc::check(static_cast<cell*>(at)->value == 0, "what is destroyed was moved from");
}

inline constexpr weft::detail::element_ops cell_ops{sizeof(cell), alignof(cell), move_cell, destroy_cell};

inline constexpr unsigned most = 4;  // senders, values, receives

// One channel, and what came of each send and each receive.
template <class Env>
struct book {
  explicit book(std::size_t capacity) : channel(cell_ops, capacity, ring) {}

  static weft::rt::wait_request how(bool cancellable, bool timed) {
    return {weft::rt::wait_reason::chan_send, cancellable, timed ? Env::a_deadline : weft::rt::never};
  }

  [[gnu::noinline]] wait_outcome send(int v, bool cancellable = false, bool timed = false) {
    cell value(v);
    const wait_outcome outcome = channel.send(&value, how(cancellable, timed));
    mc::check((value.value == 0) == (outcome == wait_outcome::ok), "a value is gone if, and only if, it was sent");
    if (outcome == wait_outcome::ok) sent[sent_count++] = v;
    return outcome;
  }
  [[gnu::noinline]] wait_outcome receive(bool cancellable = false, bool timed = false) {
    cell slot;
    const wait_outcome outcome = channel.receive(&slot, how(cancellable, timed));
    mc::check((slot.value != 0) == (outcome == wait_outcome::ok), "a value is there if, and only if, it was received");
    if (outcome == wait_outcome::ok) took(slot);
    return outcome;
  }
  [[gnu::noinline]] chan_status try_send(int v) {
    cell value(v);
    const chan_status status = channel.try_send(&value);
    mc::check((value.value == 0) == (status == chan_status::ok), "a value is gone if, and only if, it was sent");
    if (status == chan_status::ok) sent[sent_count++] = v;
    return status;
  }
  [[gnu::noinline]] chan_status try_receive() {
    cell slot;
    const chan_status status = channel.try_receive(&slot);
    mc::check((slot.value != 0) == (status == chan_status::ok), "a value is there if, and only if, it was received");
    if (status == chan_status::ok) took(slot);
    return status;
  }
  void took(cell& slot) {
    received[received_count++] = slot.value;
    slot.value = 0;
  }

  // After all have ended: what is left in the ring, and whether it all adds up.
  void balance() {
    while (try_receive() == chan_status::ok) {
    }
    mc::check(sent_count == received_count, "as many values are received as were sent");
    for (unsigned i = 0; i < sent_count; ++i) {
      int times = 0;
      for (unsigned k = 0; k < received_count; ++k) times += received[k] == sent[i] ? 1 : 0;
      mc::check(times == 1, "each value that was sent is received once");
    }
    mc::check(channel.size() == 0, "the ring is empty");
  }

  cell ring[2];
  weft::rt::basic_chan<Env> channel;
  int sent[most] = {}, received[most] = {};  // not the channel's: written by one model thread at a time, without a step
  unsigned sent_count = 0, received_count = 0;
};

}  // namespace model
