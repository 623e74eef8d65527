// SPDX-License-Identifier: Apache-2.0
// Cancellation: how the word is spread, and how it ends a wait.
//
// A fiber carries a private stack of frames (`G::frames`, innermost first): regions (with_timeout, cancel_scope),
// shields, and the nurseries it has opened. Below them lies the fiber itself (`base_cancelled`: its handle, its nursery
// or the end of run() said so). A wait is cancelled if, from the innermost frame outward and no further than the first
// shield, some region or the base is cancelled, or a child of some nursery has failed (the nursery's frame is cancelled
// then, until its owner joins it; the wait throws that error instead of `cancelled` if it has not been taken). A frame
// entered while an exception unwinds (in a destructor, then) shelters what runs in it from everything outside.
// `G::cancel` caches the answer, so that a wait's entry costs one load; it is recomputed whenever frames or flags
// change.
//
//   cancel  1  flag: set the frame or base, recompute `G::cancel` of the fiber and of all fibers below its nurseries
//              (mark)
//           2  fence of all threads
//           3  claim: each of these whose wait is open and cancellable; then wake them, in one batch
//   wait       arm; look at `G::cancel`                                              (wait.hpp)
//
// Invariants
//  1. `frames`, the flags in them, `base_cancelled` and writes of `cancel` belong to the fiber's `scope_lock`; the
//     frames' memory to the fiber, which unlinks them under that lock.
//  2. A canceller may hold a G and an id; under the scope lock `id` says whether it is still that fiber. A fiber that
//     somebody may want to cancel gives its id up under its scope lock (`retire_identity`). A detached one does not: as a
//     whole only the end of run() wants it, and whoever that meets on the same G has begun since, sees `closing`, and is
//     cancelled anyway; what a new fiber stores into its own `cancel` and `base_cancelled` before it starts can undo the
//     end's mark only before that look. A deadline of its own that has fired finds another id, or a G whose word it
//     computes anew from what is there.
//  3. A nursery's members are pinned by its lock: a child leaves it, under that lock, as its last act.
//  4. Nothing is linked per wait.
//  5. A nursery's frame names its owner, until the owner ends (`orphan_scopes`): a failing child that finds another
//     under the owner's scope lock has no owner to tell.
// Lock order, downwards in the tree: cancel_scope lock < scope_lock of a fiber < lock of a nursery it has opened <
// scope_lock of a child < ... ; a timer heap's lock comes before a scope lock. A walk holds every lock between where it
// began and where it is, so that the way back stands; it needs no stack of its own and allocates nothing, however deep
// scopes are nested.
#pragma once

#include <weft/detail/cancel_frame.hpp>

#include "runtime/sched/scheduler.hpp"
#include "runtime/wait/cancel_state.hpp"

namespace weft::rt {

/// Links a frame of the calling fiber, and unlinks it, wherever it stands.
void push_frame(G* g, detail::cancel_frame& frame) noexcept;
void pop_frame(G* g, detail::cancel_frame& frame) noexcept;

/// Steps 1 and 3 for a region and its fiber; the caller fences between them, and keeps the frame linked all the while.
bool mark_region(detail::cancel_frame& frame) noexcept;  ///< returns false if it was cancelled before
void claim_fiber(G& g, g_list& woken) noexcept;
/// Cancels a fiber as a whole, if `id` still names it.
void cancel_fiber(G* g, std::uint64_t id) noexcept;
/// Cancels all members of a nursery, now and in future.
void cancel_nursery(detail::nursery& n) noexcept;
/// The same because a member has failed, which is the caller and has not left: cancels also what its owner does inside
/// the scope, until the owner joins it.
void fail_nursery(detail::nursery& n) noexcept;
/// From here on the nursery of `frame` fails no wait of its owner, the caller.
void stop_failure(G* owner, detail::cancel_frame& frame) noexcept;
/// A fiber ends: what it leaves open are scopes that are no local objects, and nobody's from here on.
void orphan_scopes(G* g) noexcept;
/// Cancels every live fiber but `except`: the end of run().
void cancel_everybody(const G* except) noexcept;

/// A fiber that others may want to cancel ends: from here on its id names nobody.
void retire_identity(G* g) noexcept;

/// What a cancelled wait throws: in a fiber the error of a failed scope that it stands in and nobody has taken, the
/// innermost first, else `cancelled`; on a plain thread, which only the end of the runtime cancels, std::system_error
/// (operation_canceled).
[[noreturn]] void throw_cancelled();
/// Throws that if the caller's next wait must; one load otherwise.
inline void check_cancelled(G* g) {
  if (cancel_pending_at_entry(g)) [[unlikely]]
    throw_cancelled();
}

/// For a call of the library that waits by the public surface, and says afterwards that it was cancelled: waits in it
/// throw `cancelled` and leave the error of a failed scope around the call to whoever made it.
class quiet_region {
 public:
  quiet_region() noexcept : g_(current_fiber()) {
    frame_.keeps_errors = true;
    if (g_ != nullptr) push_frame(g_, frame_);
  }
  ~quiet_region() {
    if (g_ != nullptr) pop_frame(g_, frame_);
  }
  quiet_region(const quiet_region&) = delete;
  quiet_region& operator=(const quiet_region&) = delete;

 private:
  G* g_;
  detail::cancel_frame frame_;
};

/// Returns true if the frame's own deadline has cancelled it.
bool frame_expired(G* g, const detail::cancel_frame& frame) noexcept;
/// Returns true if frames outside `frame` (or the fiber itself) are cancelled, as its fiber sees it.
bool cancelled_outside(const G* g, const detail::cancel_frame& frame) noexcept;

}  // namespace weft::rt
