// SPDX-License-Identifier: Apache-2.0
// Frames between the scheduler and the code of a fiber: `run_closure`, `callable_ref` and their like, and the
// standard's `invoke` that they go through.
//
// They are templates over the user's closure, and in optimised builds its code is inlined into them, so they can be
// neither left out of a stack nor shown as they are: their names repeat the closure's, up to four times, and say
// nothing else. What is shown of them is the closure; and nothing, if its own frame has been shown already.
//
// It works on names as the demangler of g++ and clang writes them. A name that it does not understand is no wrapper's.
#pragma once

#include <string_view>

namespace weft::rt {

struct wrapper_frame {
  bool is = false;           ///< the function is such a template
  std::string_view closure;  ///< the type whose code may be inlined into it; empty: of no use to anybody
};

/// `function` is demangled, whole, and without the name of the inline namespace. The result points into it.
wrapper_frame find_wrapper_frame(std::string_view function) noexcept;

}  // namespace weft::rt
