// SPDX-License-Identifier: Apache-2.0
// The queue that all Ps share: what overflows a ring, what is made ready without a P, and what parked without one.
//
// Two classes. `urgent` holds fibers that parked after they had lost their P, since they may hold what the others wait for,
// and, sharing the time with these, fibers that came due or whose sockets did where the queue of their P is slow or full.
// They go ahead, but for half of the time at most (`take_urgent` in find_work.cpp): a stream of fibers that come back
// from blocking calls must not starve the others. Each list is first in, first out.
//
// Invariant: all members but the sizes belong to the scheduler's lock. The sizes are written under it and read by
// anyone as hints; who relies on a zero (an M going idle) reads after idle_state's fence, and a pusher fences after the
// push.
#pragma once

#include <cstdint>

#include <weft/detail/atomic.hpp>

#include "runtime/sched/g.hpp"

namespace weft::rt {

struct g_list {
  G* head = nullptr;
  G* tail = nullptr;
  std::uint32_t size = 0;

  void push_back(G* g) noexcept {
    g->link = nullptr;
    if (tail != nullptr)
      tail->link = g;
    else
      head = g;
    tail = g;
    ++size;
  }
  void append(g_list other) noexcept {
    if (other.head == nullptr) return;
    if (tail != nullptr)
      tail->link = other.head;
    else
      head = other.head;
    tail = other.tail;
    size += other.size;
  }
  G* pop_front() noexcept {
    G* g = head;
    if (g == nullptr) return nullptr;
    head = g->link;
    if (head == nullptr) tail = nullptr;
    --size;
    return g;
  }
  /// nullptr: to any.
  G* take_pinned_to(const M* m) noexcept {
    G* before = nullptr;
    for (G* g = head; g != nullptr; before = g, g = g->link) {
      if (m != nullptr ? g->pinned != m : g->pinned == nullptr) continue;
      (before != nullptr ? before->link : head) = g->link;
      if (tail == g) tail = before;
      --size;
      return g;
    }
    return nullptr;
  }
};

class global_queue {
 public:
  void push(G* g) noexcept {
    (g->parked_without_p ? urgent_ : normal_).push_back(g);
    publish();
  }
  void push(g_list batch) noexcept {
    normal_.append(batch);
    publish();
  }
  /// Among the urgent ones.
  void push_due(g_list batch) noexcept {
    due_.append(batch);
    publish();
  }
  G* pop_normal() noexcept { return pop_from(normal_); }
  /// `due`: whether one that is due is wanted, if there are both; then, whether it is one.
  G* pop_urgent(bool& due) noexcept {
    due = urgent_.head == nullptr || (due && due_.head != nullptr);
    return pop_from(due ? due_ : urgent_);
  }
  /// Walks over all of them: for an M that may run nothing else. nullptr: to any.
  G* take_pinned_to(const M* m) noexcept {
    G* g = urgent_.take_pinned_to(m);
    if (g == nullptr) g = normal_.take_pinned_to(m);  // none of those that are due is pinned
    publish();
    return g;
  }
  /// Anyone, without the lock.
  std::uint32_t size() const noexcept { return normal_size() + urgent_size(); }
  std::uint32_t normal_size() const noexcept { return normal_size_.load(std::memory_order_relaxed); }
  std::uint32_t urgent_size() const noexcept { return urgent_size_.load(std::memory_order_relaxed); }
  /// Of the urgent ones, those that are due.
  std::uint32_t due_size() const noexcept { return due_size_.load(std::memory_order_relaxed); }

 private:
  G* pop_from(g_list& list) noexcept {
    G* g = list.pop_front();
    if (g != nullptr) publish();
    return g;
  }
  void publish() noexcept {
    normal_size_.store(normal_.size, std::memory_order_relaxed);
    urgent_size_.store(urgent_.size + due_.size, std::memory_order_relaxed);
    due_size_.store(due_.size, std::memory_order_relaxed);
  }
  g_list normal_, urgent_, due_;
  detail::atomic<std::uint32_t> normal_size_{0};
  detail::atomic<std::uint32_t> urgent_size_{0};
  detail::atomic<std::uint32_t> due_size_{0};
};

}  // namespace weft::rt
