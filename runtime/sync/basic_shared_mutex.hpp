// SPDX-License-Identifier: Apache-2.0
// shared_mutex: one word {readers:29, somebody waits:1, writer:1, queue lock:1} and two lists, of writers and of
// readers.
//
// A waiter is never overtaken: the mutex is handed over, and a waiter that is let go has it. A caller that comes while
// others wait also waits; so a waiting writer holds back new readers, and a writer that unlocks lets in all readers
// that waited, before the next writer: the two sides take turns.
//
// Invariants
//  1. While the queue lock is set nobody else changes the word: every compare-and-swap expects it clear, so the holder
//     may store.
//  2. `somebody waits` says whether a list is not empty; it changes under the queue lock.
//  3. While it is free no waiter can still be claimed: what leaves (an unlock, a waiter whose time is up) admits the
//     next.
//  4. Destroy after wake: an unlock's last access to the object is the compare-and-swap or store that leaves it. It
//     wakes afterwards.
//
// Memory order: readers and writers acquire on the word what those before have released there (readers' releases are a
// release sequence of read-modify-writes, so the writer after them acquires them all); a waiter that is handed it
// learns that through `wake`. `Env` as in runtime/wait/waiter.hpp. Locked instructions: each lock and unlock 1 (unlock
// 1 more for the wake of each waiter); the fast paths are in include/weft/shared_mutex.hpp.
#pragma once

#include <cstdint>

#include "runtime/sync/word_lock.hpp"
#include "runtime/wait/wait.hpp"

namespace weft::rt {

/// The slow paths, over the members of a shared_mutex.
template <class Env>
class basic_shared_mutex {
 public:
  using word_type = typename Env::atomics::template atomic<std::uint32_t>;
  using node = waiter<Env>;
  enum class side : std::uint8_t { writers, readers };

  basic_shared_mutex(word_type& word, detail::wait_list& writers, detail::wait_list& readers) noexcept
      : word_(word), writers_(writers), readers_(readers) {}

  bool try_lock(side who) noexcept {
    for (int turn = 0;;) {
      std::uint32_t w = word_.load(std::memory_order_relaxed);
      if ((w & queue_lock) != 0)
        bit_lock_pause<typename Env::atomics>(turn++);
      else if (!open_to(who, w))
        return false;
      else if (word_.compare_exchange_weak(w, entered(who, w), std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    }
  }

  bool lock(side who, nanoseconds_t deadline) noexcept {
    for (int turn = 0;;) {
      std::uint32_t w = word_.load(std::memory_order_relaxed);
      if ((w & queue_lock) != 0) {
        bit_lock_pause<typename Env::atomics>(turn++);
        continue;
      }
      const bool open = open_to(who, w);
      if (!word_.compare_exchange_weak(w, open ? entered(who, w) : w | queue_lock, std::memory_order_acquire,
                                       std::memory_order_relaxed))
        continue;
      if (open) return true;
      break;
    }
    const bool writing = who == side::writers;
    node mine;
    return wait_in_queue<Env>(queue_ref{*this}, writing ? writers_ : readers_, mine,
                              {writing ? wait_reason::shared_mutex_lock : wait_reason::shared_mutex_lock_shared, false,
                               deadline}) == wait_outcome::ok;
  }

  /// Returns false if that side did not hold it.
  bool unlock(side who) noexcept {
    std::uint32_t w = word_.load(std::memory_order_relaxed);
    for (int turn = 0;;) {
      if (who == side::writers ? (w & writer) == 0 : w < one_reader) return false;
      if ((w & queue_lock) != 0) {
        bit_lock_pause<typename Env::atomics>(turn++);
        w = word_.load(std::memory_order_relaxed);
        continue;
      }
      const std::uint32_t left = w - (who == side::writers ? writer : one_reader);
      const bool somebody_next = (left & waiting) != 0 && left < one_reader;
      if (!word_.compare_exchange_weak(w, somebody_next ? left | queue_lock : left, std::memory_order_acq_rel,
                                       std::memory_order_relaxed))
        continue;
      if (!somebody_next) return true;
      typename Env::batch woken;
      publish(admit(left, who == side::writers, woken));
      Env::wake_all(woken);
      return true;
    }
  }

 private:
  static constexpr std::uint32_t queue_lock = 1;
  static constexpr std::uint32_t writer = 2;
  static constexpr std::uint32_t waiting = 4;
  static constexpr std::uint32_t one_reader = 8;

  static bool open_to(side who, std::uint32_t w) noexcept {
    return who == side::writers ? w == 0 : (w & (writer | waiting)) == 0;
  }
  static std::uint32_t entered(side who, std::uint32_t w) noexcept {
    return who == side::writers ? w | writer : w + one_reader;
  }

  /// Lets in the side whose turn it is, in a state `w` without a writer; returns the state that this makes.
  std::uint32_t admit(std::uint32_t w, bool readers_first, typename Env::batch& woken) noexcept {
    const auto admit_readers = [&] {
      wait_queue<Env> queue(readers_);
      while (node* r = queue.pop_claimed()) {
        r->result = wait_result::ok;
        woken.push_back(r->g);
        w += one_reader;
      }
    };
    if (readers_first || wait_queue<Env>(writers_).empty()) admit_readers();
    if (w >= one_reader) return w;
    if (node* next = wait_queue<Env>(writers_).pop_claimed()) {
      next->result = wait_result::ok;
      woken.push_back(next->g);
      return w | writer;
    }
    admit_readers();
    return w;
  }

  /// Releases the queue lock.
  void publish(std::uint32_t w) noexcept {
    const bool nobody = wait_queue<Env>(writers_).empty() && wait_queue<Env>(readers_).empty();
    word_.store((w & ~(queue_lock | waiting)) | (nobody ? 0 : waiting), std::memory_order_release);
  }

  struct queue_ref {
    basic_shared_mutex it;

    void lock() noexcept {
      for (int turn = 0;; ++turn) {
        std::uint32_t w = it.word_.load(std::memory_order_relaxed);
        if ((w & queue_lock) == 0 &&
            it.word_.compare_exchange_weak(w, w | queue_lock, std::memory_order_acquire, std::memory_order_relaxed))
          return;
        bit_lock_pause<typename Env::atomics>(turn);
      }
    }
    void unlock(int grown_by) noexcept {
      std::uint32_t w = it.word_.load(std::memory_order_relaxed);
      typename Env::batch woken;
      if (grown_by < 0 && (w & writer) == 0) w = it.admit(w, false, woken);  // a writer that gave up held others back
      it.publish(w);
      if (grown_by < 0) Env::wake_all(woken);
    }
  };

  word_type& word_;
  detail::wait_list& writers_;
  detail::wait_list& readers_;
};

}  // namespace weft::rt
