// SPDX-License-Identifier: Apache-2.0
// Synchronisation between fibers and plain threads, all of it.
//
// All of these are neither copyable nor movable, need no memory of their own, have constexpr constructors (so they can
// be globals) and keep their layout with and without NDEBUG. Any of them may be destroyed by the fiber that its last
// waker has let go. What fibers can wait for, plain threads can too (it blocks them); both may be mixed.
#pragma once

#include <weft/barrier.hpp>
#include <weft/condition_variable.hpp>
#include <weft/event.hpp>
#include <weft/latch.hpp>
#include <weft/mutex.hpp>
#include <weft/once.hpp>
#include <weft/semaphore.hpp>
#include <weft/shared_mutex.hpp>
#include <weft/wait_group.hpp>
