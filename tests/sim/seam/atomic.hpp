// SPDX-License-Identifier: Apache-2.0
// std::atomic with a step before each access. Sequentially consistent: weak orders are the models' business.
#pragma once

#include <atomic>

#include "tests/sim/seam/sim.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

template <class Base, class T>
class stepping : public Base {
 public:
  using Base::Base;
  [[gnu::always_inline]] T load(std::memory_order o = std::memory_order_seq_cst) const noexcept {
    sim::step();
    return Base::load(o);
  }
  [[gnu::always_inline]] void store(T v, std::memory_order o = std::memory_order_seq_cst) noexcept {
    sim::step();
    Base::store(v, o);
  }
  [[gnu::always_inline]] T exchange(T v, std::memory_order o = std::memory_order_seq_cst) noexcept {
    sim::step();
    return Base::exchange(v, o);
  }
  template <class... O>
  [[gnu::always_inline]] bool compare_exchange_strong(T& e, T v, O... o) noexcept {
    sim::step();
    return Base::compare_exchange_strong(e, v, o...);
  }
  template <class... O>
  [[gnu::always_inline]] bool compare_exchange_weak(T& e, T v, O... o) noexcept {
    sim::step();
    return Base::compare_exchange_strong(e, v, o...);
  }
  template <class D, class... O>
  [[gnu::always_inline]] T fetch_add(D v, O... o) noexcept {
    sim::step();
    return Base::fetch_add(v, o...);
  }
  template <class D, class... O>
  [[gnu::always_inline]] T fetch_sub(D v, O... o) noexcept {
    sim::step();
    return Base::fetch_sub(v, o...);
  }
  [[gnu::always_inline]] T fetch_or(T v, std::memory_order o = std::memory_order_seq_cst) noexcept {
    sim::step();
    return Base::fetch_or(v, o);
  }
  [[gnu::always_inline]] T fetch_and(T v, std::memory_order o = std::memory_order_seq_cst) noexcept {
    sim::step();
    return Base::fetch_and(v, o);
  }
  [[gnu::always_inline]] T fetch_xor(T v, std::memory_order o = std::memory_order_seq_cst) noexcept {
    sim::step();
    return Base::fetch_xor(v, o);
  }
  [[gnu::always_inline]] operator T() const noexcept { return load(); }
  [[gnu::always_inline]] T operator=(T v) noexcept {
    store(v);
    return v;
  }
};

template <class T>
struct atomic : stepping<std::atomic<T>, T> {
  constexpr atomic() noexcept = default;
  constexpr atomic(T v) noexcept : stepping<std::atomic<T>, T>(v) {}
  using stepping<std::atomic<T>, T>::operator=;
};
template <class T>
struct atomic_ref : stepping<std::atomic_ref<T>, T> {
  explicit atomic_ref(T& v) noexcept : stepping<std::atomic_ref<T>, T>(v) {}
};
template <class T>
atomic_ref(T&) -> atomic_ref<T>;

}  // namespace detail
}  // namespace v0
}  // namespace weft
