// SPDX-License-Identifier: Apache-2.0
// One level of a fiber's private stack of scopes. What it means is in runtime/scope/cancel.hpp; only its room is needed
// here.
#pragma once

#include <cstdint>

namespace weft {
inline namespace v0 {
namespace detail {

class nursery;

struct cancel_frame {
  enum class kind : std::uint8_t { region, shield, nursery };

  cancel_frame* outer = nullptr;
  detail::nursery* children = nullptr;  ///< of a nursery's own frame
  cancel_frame* next_active = nullptr;  ///< of a cancel_scope's list of what runs in it
  cancel_frame* prev_active = nullptr;
  void* g = nullptr;  ///< the fiber on whose stack it lies
  int uncaught = 0;   ///< exceptions in flight when it was entered
  kind what = kind::region;
  bool sheltered =
      false;  ///< entered while an exception unwound through what lies outside: no cancellation comes from there
  bool cancelled = false;  ///< a region: it is; a nursery: a child has failed, and the owner is to hear of it
  bool by_deadline = false;
  bool keeps_errors = false;  ///< waits inside leave the errors of failed scopes outside to those after it
  bool joined = false;        ///< a nursery's failure reaches its owner no more
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
