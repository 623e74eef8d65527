// SPDX-License-Identifier: Apache-2.0
//
// The world of the wait protocol under the model checker: `env<Rules>` has the names of runtime/wait/env.hpp, so that
// the production templates (wait_word, waiter, wait_queue, wait_in_queue, wait_alone, basic_chan) run in it unchanged.
//
// A model thread is an M; a fiber is a context of its own that runs on one M after the other. What matters happens as
// in production: a parking fiber is left by its M, which saves the context, clears `on_cpu` (release), and only then
// runs the commit hook, while another M may be resuming the fiber already. A waker waits for `on_cpu`, then puts the
// fiber onto the run list once; an M without a fiber takes the next from there. Thus what the fiber knows after a wait
// is what its new M knows and what came with the run list, and no more.
//
// What it checks by itself: a fiber is made ready once per wait, and runs on one stack at a time; a saved context, the
// link in a batch and the cause are not raced for; nothing that lay on a frame is touched once the frame is gone
// (`frame_var`). No M finds a fiber while some have not ended: a lost wake-up, which the checker reports as a deadlock.
//
// `Rules` are what a mutant changes. Mutants of the templates are explicit specialisations for an env with a name of
// its own.
#pragma once

#include "runtime/wait/wait.hpp"

#include <boost/context/detail/fcontext.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <memory>
#include <utility>

#include "tests/model/expect.hpp"

namespace model {

namespace rt = weft::rt;
using mc::order;
using hook_fn = void (*)(void*) noexcept;

// A variable of a frame. Its end counts as a write, so a later access is a race, or, if it is ordered, an access to the
// dead. Needs the memory of dead frames to stay as it was: see KEEP_FRAME.
template <class T>
class frame_var {
 public:
  frame_var() : frame_var(T{}) {}
  frame_var(T value) : value_(value) {}  // NOLINT: stands for a plain T
  ~frame_var() {
    value_ = T{};
    alive_ = false;
    asm volatile("" : : "r"(this) : "memory");  // else the stores of a destructor are dead ones
  }
  frame_var(const frame_var&) = delete;
  frame_var& operator=(const frame_var&) = delete;

  frame_var& operator=(T value) {
    value_ = value;
    mc::check(alive_, "a frame is written while it lives");
    return *this;
  }
  operator T() const {
    const T value = value_.get();
    mc::check(alive_, "a frame is read while it lives");
    return value;
  }

 private:
  mc::var<T> value_;
  bool alive_ = true;
};

// After a call in a fiber's body: what follows leaves the memory of the callee's frame alone.
#define KEEP_FRAME()                                              \
  do {                                                            \
    volatile std::size_t bytes = 4096;                            \
    asm volatile("" : : "r"(__builtin_alloca(bytes)) : "memory"); \
  } while (false)

enum class barrier { membarrier, fence, none };

struct faithful {
  using atomics = mc::mc_atomics;
  static constexpr barrier between_flag_and_claim = barrier::membarrier;
  static constexpr bool parker_fences = false;  // the other half of barrier::fence
  static constexpr bool looks_at_the_flag = true;
  static constexpr bool waits_until_off_cpu = true;
  static constexpr bool saves_before_off_cpu = true;
};

template <class Rules>
struct env {
  using atomics = typename Rules::atomics;
  template <class T>
  using var = frame_var<T>;
  using lock = mc::mutex;

  struct fiber {
    rt::wait_word<atomics> wait;
    typename atomics::template atomic<bool> on_cpu{false};
    typename atomics::template atomic<std::uint32_t> cancel{0};
    mc::var<rt::wait_cause> cause{rt::wait_cause::woken};
    mc::var<fiber*> link{nullptr};
    mc::var<void*> context{nullptr};

    // The model's own: no part of what is modelled.
    std::function<void()> body;
    mc::detail::knowledge published;  // by whoever made it ready
    bool on_stack = false, ready = false, ended = false;
  };

  struct batch {
    fiber* head = nullptr;
    fiber* tail = nullptr;
    void push_back(fiber* g) {
      g->link = nullptr;
      if (tail != nullptr)
        tail->link = g;
      else
        head = g;
      tail = g;
    }
  };

  class deadline_timer;

  // --- what the templates ask for ------------------------------------------------------------------------------------

  static fiber* current() { return here->mine().current; }
  static bool cancel_pending(const fiber* g) { return Rules::looks_at_the_flag && g->cancel.load(order::relaxed) != 0; }
  static bool may_be_cancelled(const fiber*) { return true; }
  static void order_arm_before_look() {
    if constexpr (Rules::parker_fences) atomics::fence_seq_cst();
  }
  static void park(rt::wait_reason, hook_fn commit, void* arg) {
    here->mine().hook = commit;
    here->mine().hook_arg = arg;
    here->leave();
  }
  static std::uint32_t random(std::uint32_t n) { return static_cast<std::uint32_t>(mc::any_of(n)); }
  static rt::nanoseconds_t now() { return 1; }
  static constexpr unsigned stripes = 2;
  static unsigned stripe_index() { return mc::any_of(stripes); }
  static bool lock_and_tell(lock& it) {
    it.lock();
    return false;
  }
  static void wake(fiber* g) {
    if constexpr (Rules::waits_until_off_cpu) {
      while (g->on_cpu.load(order::acquire)) atomics::pause();
    }
    here->make_ready(*g);
  }
  static void wake_all(batch b) {
    for (fiber* g = b.head; g != nullptr;) {
      fiber* const next = g->link;
      wake(g);
      g = next;
    }
  }
  static void announce_timer(rt::nanoseconds_t when) {
    mc::check(when == a_deadline, "a timer is announced as it was started");
  }

  static constexpr rt::nanoseconds_t a_deadline = 1000;

  // --- cancellation, as runtime/scope/cancel.cpp spreads it
  // ------------------------------------------------------------

  static void cancel(std::initializer_list<fiber*> fibers) {
    for (fiber* g : fibers) g->cancel.store(1, order::relaxed);
    if constexpr (Rules::between_flag_and_claim == barrier::membarrier) mc::membarrier();
    if constexpr (Rules::between_flag_and_claim == barrier::fence) atomics::fence_seq_cst();
    batch woken;
    for (fiber* g : fibers) {
      if (!g->wait.claim_if_cancellable()) continue;
      g->cause = rt::wait_cause::cancelled;
      woken.push_back(g);
    }
    wake_all(woken);
  }

  // --- timers, with the locking of runtime/sched/timer_heap.cpp and a heap of one place for each
  // -----------------------------

  class deadline_timer {
   public:
    bool start(fiber* g, std::uint64_t token, rt::nanoseconds_t when) {
      mc::check(when == a_deadline, "a deadline is handed on");
      here->heap_lock.lock();
      g_ = g;
      token_ = token;
      in_heap_.store(1, order::relaxed);
      for (deadline_timer*& place : here->heap) {
        if (place != nullptr) continue;
        place = this;
        break;
      }
      ++here->timers;
      here->heap_lock.unlock();
      return true;
    }
    void stop() {
      if (in_heap_.load(order::acquire) == 0) return;
      here->heap_lock.lock();
      if (in_heap_.load(order::relaxed) != 0) {
        take_out();
        in_heap_.store(0, order::relaxed);
      }
      here->heap_lock.unlock();
    }
    void fire(batch& woken) {
      take_out();
      fiber* const g = g_;
      if (g->wait.claim(token_)) {
        g->cause = rt::wait_cause::timeout;
        woken.push_back(g);
      }
      in_heap_.store(0, order::release);
    }

   private:
    void take_out() {
      for (deadline_timer*& place : here->heap) {
        if (place == this) place = nullptr;
      }
      --here->timers;
    }

    typename atomics::template atomic<std::uint8_t> in_heap_{0};  // of a type that a mutant can tell from on_cpu
    frame_var<fiber*> g_{nullptr};
    frame_var<std::uint64_t> token_{0};
  };

  // --- Ms, fibers, the run list
  // ----------------------------------------------------------------------------------------

  class world {
   public:
    world() { here = this; }

    // The fibers must all be there before the first starts.
    void add(fiber& f, std::function<void()> body) {
      static std::unique_ptr<char[]> stacks[mc::detail::max_threads];
      std::unique_ptr<char[]>& stack = stacks[total_++];
      if (stack == nullptr) stack = std::make_unique<char[]>(mc::detail::stack_size);
#if defined(MC_ADDRESS_SANITIZER)
      __asan_unpoison_memory_region(stack.get(), mc::detail::stack_size);
#endif
      f.body = std::move(body);
      f.context =
          boost::context::detail::make_fcontext(stack.get() + mc::detail::stack_size, mc::detail::stack_size, entry);
      added_[total_ - 1] = &f;
    }
    // Each fiber begins on an M of its own; `others` are threads that run no fiber at first. All of them take what is
    // ready afterwards. Returns when all have ended.
    void run(std::initializer_list<std::function<void()>> others = {}) {
      for (unsigned i = 0; i < total_; ++i) {
        mc::spawn([this, i] {
          resume(*added_[i]);
          serve();
        });
      }
      for (const auto& other : others) {
        mc::spawn([this, other] {
          other();
          serve();
        });
      }
      mc::join();
    }

    // An M that runs timers, too: fires those that have been started, at any time after.
    void fire_timers() {
      for (;;) {
        mc::detail::here().point(
            [](const void* p) {
              const auto* w = static_cast<const world*>(p);
              return w->timers != 0 || w->something_to_serve();
            },
            this, "a timer, or a fiber to run");
        if (timers == 0 || (waiting_ != 0 && mc::any_of(2) == 0)) {
          if (waiting_ == 0) return;
          resume(next_ready());
          continue;
        }
        batch woken;
        heap_lock.lock();
        for (deadline_timer* t : heap) {
          if (t != nullptr) t->fire(woken);
        }
        heap_lock.unlock();
        wake_all(woken);
      }
    }

   private:
    friend env;
    friend deadline_timer;

    struct machine {
      boost::context::detail::fcontext_t loop = nullptr;
      fiber* current = nullptr;
      hook_fn hook = nullptr;
      void* hook_arg = nullptr;
    };

    machine& mine() { return machines_[mc::detail::here().self()]; }

    static void entry(boost::context::detail::transfer_t from) {
      here->mine().loop = from.fctx;
      here->mine().current->body();
      here->mine().current->ended = true;
      here->leave();
    }

    // On a fiber: back to the loop of its M, until some M resumes it.
    void leave() {
      const auto back = boost::context::detail::jump_fcontext(mine().loop, nullptr);
      mine().loop = back.fctx;
    }

    // On an M: runs the fiber until it parks or ends; then `arrive` of runtime/sched/context.hpp.
    void resume(fiber& f) {
      mc::check(!f.on_stack, "a fiber runs on one stack at a time, which was saved");
      f.on_stack = true;
      f.ready = false;
      f.on_cpu.store(true, order::relaxed);
      mine().current = &f;
      const auto back = boost::context::detail::jump_fcontext(f.context.get(), nullptr);
      machine& m = mine();
      m.current = nullptr;
      if (f.ended) {
        ++ended_;
        return;
      }
      if constexpr (Rules::saves_before_off_cpu) f.context = back.fctx;
      f.on_stack = false;
      f.on_cpu.store(false, order::release);
      if constexpr (!Rules::saves_before_off_cpu) f.context = back.fctx;
      if (m.hook != nullptr) std::exchange(m.hook, nullptr)(m.hook_arg);
    }

    void make_ready(fiber& f) {
      mc::detail::here().point();
      mc::check(!f.ready, "a fiber is made ready once");
      f.ready = true;
      mc::check(waiting_ != list_.size(), "there is room in the run list");
      list_[waiting_++] = &f;
      f.published = {};
      mc::detail::here().publish(f.published);
      mc::note("makes a fiber ready");
    }

    void serve() {
      for (;;) {
        mc::detail::here().point([](const void* p) { return static_cast<const world*>(p)->something_to_serve(); }, this,
                                 "a fiber to run");
        if (waiting_ == 0) return;
        resume(next_ready());
      }
    }
    bool something_to_serve() const { return waiting_ != 0 || ended_ == total_; }
    fiber& next_ready() {
      fiber& f = *list_[0];
      for (unsigned i = 1; i < waiting_; ++i) list_[i - 1] = list_[i];
      --waiting_;
      mc::detail::here().acquire(f.published);
      mc::note("resumes a fiber");
      return f;
    }

    machine machines_[mc::detail::max_threads];
    fiber* added_[mc::detail::max_threads] = {};
    std::array<fiber*, 8> list_{};
    unsigned waiting_ = 0, total_ = 0, ended_ = 0;

    mc::mutex heap_lock;
    std::array<deadline_timer*, 4> heap{};
    unsigned timers = 0;
  };

  static inline world* here = nullptr;
};

using plain_env = env<faithful>;

}  // namespace model
