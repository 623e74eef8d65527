// SPDX-License-Identifier: Apache-2.0
// A case of a select, as the library sees it.
#pragma once

namespace weft {
inline namespace v0 {
namespace detail {

struct select_entry {
  const void* ops = nullptr;  ///< what the object can do (rt::select_ops); null: a case that is never ready
  void* object = nullptr;
  void* value = nullptr;  ///< where the value comes from, or raw storage that it goes to
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
