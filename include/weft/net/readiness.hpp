// SPDX-License-Identifier: Apache-2.0
// What a descriptor is ready for, as a set.
#pragma once

namespace weft {
inline namespace v0 {
namespace net {

/// readiness is a set of `readable` and `writable`: what is waited for, or what was found.
///
/// ```cpp
/// const weft::net::readiness found = w.wait(weft::net::readable | weft::net::writable);
/// if (found & weft::net::writable) flush();
/// ```
class readiness {
 public:
  /// The empty set.
  constexpr readiness() noexcept = default;
  /// Whether anything is in it.
  constexpr explicit operator bool() const noexcept { return bits_ != 0; }

  friend constexpr readiness operator|(readiness a, readiness b) noexcept { return readiness(a.bits_ | b.bits_); }
  friend constexpr readiness operator&(readiness a, readiness b) noexcept { return readiness(a.bits_ & b.bits_); }
  constexpr readiness& operator|=(readiness other) noexcept { return *this = *this | other; }
  constexpr readiness& operator&=(readiness other) noexcept { return *this = *this & other; }
  friend constexpr bool operator==(readiness, readiness) noexcept = default;

  /// As constants: net::readable and net::writable.
  static constexpr readiness to_read() noexcept { return readiness(1); }
  static constexpr readiness to_write() noexcept { return readiness(2); }

 private:
  constexpr explicit readiness(unsigned bits) noexcept : bits_(static_cast<unsigned char>(bits)) {}
  unsigned char bits_ = 0;
};

/// A read would not wait: also for an end or an error.
inline constexpr readiness readable = readiness::to_read();
/// A write would not wait: also for an error.
inline constexpr readiness writable = readiness::to_write();

}  // namespace net
}  // namespace v0
}  // namespace weft
