// SPDX-License-Identifier: Apache-2.0
// A fiber's life as its user sees it: the closure runs, and its handle or its scope learns how it ended.
#include <cstdlib>
#include <exception>
#include <utility>

#include <weft/error.hpp>

#include "runtime/sched/g_pool.hpp"
#include "runtime/sched/upcalls.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/completion_access.hpp"
#include "runtime/scope/fiber_local.hpp"
#include "runtime/scope/nursery_access.hpp"

namespace weft::rt {

static void end_closure(G* g) noexcept {
  if (g->closure != g->inline_closure) std::free(g->closure);
  g->closure = nullptr;
  end_locals(g);
}

// Nobody will ever ask for its error, so nothing but `cancelled` is caught, and no function from here to the bottom
// frame is noexcept: the search for a handler ends in vain, so nothing is unwound, and std::terminate runs with the
// stack as it was at the throw.
static void run_detached(G* g) {
  try {
    g->entry(g->closure);
  } catch (const cancelled&) {
  }
}

void run_body(G* g) {
  if (g->ended == nullptr && g->home == nullptr) {
    run_detached(g);
    end_closure(g);
    if (g->frames != nullptr) [[unlikely]]
      orphan_scopes(g);
    return;
  }
  std::exception_ptr error;
  bool was_cancelled = false;
  try {
    g->entry(g->closure);
  } catch (const cancelled&) {
    was_cancelled = true;
  } catch (...) {
    error = std::current_exception();
  }
  end_closure(g);
  if (g->frames != nullptr) [[unlikely]]
    orphan_scopes(g);
  count_end();  // before the end can be seen, so that num_fibers() no longer counts the fiber then
  detail::nursery* home = g->home;
  if (home != nullptr) {
    // The completion outlives the handle's `release` for as long as the nursery looks at it: the fiber's own reference.
    if (g->ended != nullptr) g->ended->retain();
    detail::completion* ended = g->ended;
    if (ended != nullptr) detail::completion_access::finish(*ended, error, was_cancelled);
    detail::nursery_access::leave(*home, g, std::move(error));
    if (ended != nullptr) ended->release();
  } else {
    detail::completion_access::finish(*g->ended, std::move(error), was_cancelled);
  }
  if (g->frames != nullptr) [[unlikely]]
    orphan_scopes(g);  // of an error handler
  end_locals(g);       // of a destructor that came with the result
  retire_identity(g);
}

}  // namespace weft::rt
