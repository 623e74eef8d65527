// SPDX-License-Identifier: Apache-2.0
// What the library's channel needs to know of an element, and the calls that weft::chan<T> is a thin cover of.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/select_entry.hpp>

namespace weft {
inline namespace v0 {

/// chan_status is how an attempt on a channel ended: done; no room (send); nothing there (receive); closed.
enum class chan_status : std::uint8_t { ok, full, empty, closed };

namespace detail {

struct element_ops {
  std::size_t size;  ///< the stride of the ring; 0 for chan<void>
  std::size_t alignment;
  void (*move)(void* to, void* from) noexcept;  ///< move-constructs; null: copy the bytes, and nothing is to destroy
  void (*destroy)(void* element) noexcept;
};

template <class T>
struct element_ops_of {
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "a channel moves its elements while it holds a lock: T must be nothrow move constructible and nothrow "
                "destructible");
  static constexpr bool by_bytes = std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>;
  static void move(void* to, void* from) noexcept { ::new (to) T(std::move(*static_cast<T*>(from))); }
  static void destroy(void* element) noexcept { std::destroy_at(static_cast<T*>(element)); }
  static constexpr element_ops value{sizeof(T), alignof(T), by_bytes ? nullptr : move, by_bytes ? nullptr : destroy};
};
template <>
struct element_ops_of<void> {
  static constexpr element_ops value{0, 1, nullptr, nullptr};
};

class chan_core;

/// Throws std::length_error for a capacity that cannot be, std::bad_alloc.
WEFT_EXPORT chan_core* chan_make(const element_ops& ops, std::ptrdiff_t capacity);
WEFT_EXPORT void chan_retain(chan_core* c) noexcept;
WEFT_EXPORT void chan_release(chan_core* c) noexcept;
/// Whether the caller's handle is the last one; a hint unless nobody can copy it meanwhile.
WEFT_EXPORT bool chan_is_sole(const chan_core* c) noexcept;
/// How the library looks behind a handle.
struct chan_insight {
  template <class Chan>
  static chan_core* core(const Chan& c) noexcept {
    return c.core();
  }
};

/// The ends of a channel that are counted, so that the last of a side closes it. A null core has none.
enum class chan_side : std::uint8_t { send, receive };
WEFT_EXPORT void chan_enter(chan_core* c, chan_side side) noexcept;
WEFT_EXPORT void chan_leave(chan_core* c, chan_side side) noexcept;
/// Throws channel_closed for a send, and says whether it was closed or all its receivers are gone.
[[noreturn]] WEFT_EXPORT void chan_throw_closed(const chan_core* c);
/// Throws std::logic_error: an iterator at the end of a channel has no value.
[[noreturn]] WEFT_EXPORT void chan_throw_past_the_end();

// A null core is the nil channel. `value` is moved from only if the send happens; `slot` is raw storage, filled if true
// (ok) comes back.
WEFT_EXPORT void chan_send(chan_core* c, void* value);
WEFT_EXPORT bool chan_receive(chan_core* c, void* slot);
WEFT_EXPORT chan_status chan_try_send(chan_core* c, void* value) noexcept;
WEFT_EXPORT chan_status chan_try_receive(chan_core* c, void* slot) noexcept;
WEFT_EXPORT chan_status chan_send_for(chan_core* c, void* value, any_duration patience);
WEFT_EXPORT chan_status chan_receive_for(chan_core* c, void* slot, any_duration patience);
/// As cases of a select; nil is never ready.
WEFT_EXPORT select_entry chan_send_case(chan_core* c, void* value) noexcept;
WEFT_EXPORT select_entry chan_receive_case(chan_core* c, void* slot) noexcept;
WEFT_EXPORT void chan_close(chan_core* c);
WEFT_EXPORT std::size_t chan_size(const chan_core* c) noexcept;
WEFT_EXPORT std::size_t chan_capacity(const chan_core* c) noexcept;

}  // namespace detail
}  // namespace v0
}  // namespace weft
