// SPDX-License-Identifier: Apache-2.0
// What weft throws. What a program can get wrong and handle is an exception; what leaves state broken ends the process.
#pragma once

#include <stdexcept>

#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {

/// cancelled is what a wait throws once the scope it stands in is cancelled. It does not derive from std::exception, so
/// a handler for errors lets it pass; a fiber that ends by it ends quietly. A `catch (...)` that does not rethrow meets
/// it again at the next wait.
class WEFT_EXPORT cancelled final {
 public:
  cancelled() noexcept = default;
  cancelled(const cancelled&) noexcept = default;
  cancelled& operator=(const cancelled&) noexcept = default;
};

/// channel_closed is thrown by a send on a closed channel, and by closing a channel that is closed or nil.
class WEFT_EXPORT channel_closed final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  channel_closed(const channel_closed&) noexcept = default;
  channel_closed& operator=(const channel_closed&) noexcept = default;
  ~channel_closed() override;
};

/// timed_out is thrown by with_timeout and with_deadline when their time was what ended the call.
class WEFT_EXPORT timed_out final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  timed_out(const timed_out&) noexcept = default;
  timed_out& operator=(const timed_out&) noexcept = default;
  ~timed_out() override;
};

/// fiber_cancelled is thrown by `fiber::join` when the joined fiber was cancelled and so has no result.
class WEFT_EXPORT fiber_cancelled final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  fiber_cancelled(const fiber_cancelled&) noexcept = default;
  fiber_cancelled& operator=(const fiber_cancelled&) noexcept = default;
  ~fiber_cancelled() override;
};

}  // namespace v0
}  // namespace weft
