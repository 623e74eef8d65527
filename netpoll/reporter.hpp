// SPDX-License-Identifier: Apache-2.0
// Who reports the readiness of descriptors: epoll, or the ring.
//
// Each edge is handed to `descriptor::event` with the generation that the descriptor had when it was added.
#pragma once

namespace weft::inline v0::rt {

struct descriptor;

class readiness_reporter {
 public:
  readiness_reporter(const readiness_reporter&) = delete;
  readiness_reporter& operator=(const readiness_reporter&) = delete;

  /// Reports the edges of `d.fd()` from here on, beginning with what is ready now. 0, or the errno (EPERM: a regular
  /// file is always ready).
  virtual int add(descriptor& d) noexcept = 0;
  /// Before the file is closed; nobody is inside the descriptor. What it reports after that finds another generation, or
  /// there is none. May park, uncancellably.
  virtual void remove(descriptor& d) noexcept = 0;

 protected:
  readiness_reporter() = default;
  ~readiness_reporter() = default;
};

}  // namespace weft::inline v0::rt
