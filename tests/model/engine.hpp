// SPDX-License-Identifier: Apache-2.0
//
// The inside of the model checker: memory with histories and views, model threads, and the search over all choices.
// What it models, and what not, stands in mc.hpp.
//
// Invariants
//   - One execution at a time, on one OS thread: the engine needs no synchronisation of its own.
//   - An execution is determined by its choices (who makes the next step, which store a load returns), kept in `path_`:
//     the same path gives the same execution. The search changes the last choice that has another possibility left.
//   - A thread stops only in point(), before the access that it is about to make; the access itself is atomic.
//   - happened.at[self] is bumped after each release, so that what follows has an epoch that nobody has heard of.
#pragma once

#include <boost/context/detail/fcontext.hpp>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MC_ADDRESS_SANITIZER 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define MC_ADDRESS_SANITIZER 1
#endif
#if defined(MC_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

namespace mc {

using order = std::memory_order;

struct options {
  const char* name = "model";
  int bound = from_environment("WEFT_MODEL_BOUND", 2);   // preemptions in one execution; -1: any number
  int stale = from_environment("WEFT_MODEL_STALE", -1);  // loads of old values in one execution; -1: any number
  long random = 0;                                       // > 0: so many random executions instead of all
  std::uint64_t seed = 1;                                // of the random executions
  long limit = from_environment("WEFT_MODEL_LIMIT", 100'000'000);  // executions; beyond, the search is not complete
  long steps = 5'000;                                              // in one execution; beyond, it is a livelock

  static int from_environment(const char* variable, int otherwise) {
    const char* const text = std::getenv(variable);
    return text != nullptr && *text != '\0' ? std::atoi(text) : otherwise;
  }
};

struct result {
  bool failed = false;
  bool complete = false;  // every execution within the bounds was tried
  bool sampled = false;   // options::random
  long executions = 0;
  std::string message;   // of the failure
  std::string schedule;  // that leads to it, for WEFT_MODEL_REPLAY
  std::string trace;     // its steps
};

namespace detail {

inline constexpr unsigned max_threads = 8;
inline constexpr unsigned max_locations = 128;
inline constexpr unsigned max_stale_repeats = 3;  // the same old store, read again and again: then something newer
inline constexpr std::size_t stack_size = 128 * 1024;

inline bool acquires(order o) { return o == order::acquire || o == order::acq_rel || o == order::seq_cst; }
inline bool releases(order o) { return o == order::release || o == order::acq_rel || o == order::seq_cst; }

inline const char* text_of(order o) {
  static constexpr const char* texts[] = {"relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst"};
  return texts[static_cast<int>(o)];
}

// Happens-before: for each thread, up to which of its releases this one has heard of it.
struct clock {
  std::uint32_t at[max_threads] = {};
  void join(const clock& other) {
    for (unsigned i = 0; i < max_threads; ++i) at[i] = at[i] < other.at[i] ? other.at[i] : at[i];
  }
};

// For each location, the oldest store in its history that may still be read.
struct view {
  std::uint16_t at[max_locations] = {};
  void join(const view& other, unsigned locations) {
    for (unsigned i = 0; i < locations; ++i) at[i] = at[i] < other.at[i] ? other.at[i] : at[i];
  }
};

// What travels along an acquire/release edge.
struct knowledge {
  clock happened;
  view seen;
  void join(const knowledge& other, unsigned locations) {
    happened.join(other.happened);
    seen.join(other.seen, locations);
  }
  void assign(const knowledge& other, unsigned locations) {
    happened = other.happened;
    std::memcpy(seen.at, other.seen.at, locations * sizeof(seen.at[0]));
  }
};

struct store {
  std::uint64_t value;
  bool releasing;           // whether `published` counts
  std::uint16_t locations;  // that there were when it was stored: the views' extent
  knowledge published;      // to those who acquire
};

struct location {
  std::vector<store> stores;  // of which only the first `length` belong to this execution: it is never cleared
  unsigned length = 0;
  clock touched;  // each thread's last access, for the check when the object dies
  bool alive = false;
  unsigned maker = 0;  // construction is no atomic access: it has to happen before every other
  std::uint32_t made = 0;
  struct {
    std::uint32_t index = 0, times = 0;
  } stale[max_threads];
};

struct spinning {
  unsigned location;
  unsigned length;  // of its history when it was read
};

struct thread {
  boost::context::detail::fcontext_t context = nullptr;
  std::unique_ptr<char[]> stack;
  std::function<void()> body;
  bool finished = false;
  bool fresh = false;                    // chosen, but no step taken yet
  bool (*ready)(const void*) = nullptr;  // null: can run
  const void* ready_argument = nullptr;
  const char* waits_for = nullptr;
  knowledge now;         // what it knows
  knowledge unacquired;  // what relaxed loads saw, for a later acquire fence
  knowledge fenced;      // as of the last release fence, for later relaxed stores
  bool has_unacquired = false, has_fenced = false;
  std::vector<spinning> read;  // since the last pause
  long yielded_at = 0;
};

struct choice {
  std::uint16_t taken, count;
};

class engine {
 public:
  static engine*& current() {
    static engine* the = nullptr;
    return the;
  }

  explicit engine(const options& o) : options_(o), random_(o.seed) {}

  result explore(const std::function<void()>& body) {
    engine* const former = std::exchange(current(), this);
    result r;
    r.sampled = options_.random > 0;
    if (const char* replay = std::getenv("WEFT_MODEL_REPLAY"); replay != nullptr && *replay != '\0') {
      parse(replay);
      tracing_ = replaying_ = true;
      run_once(body);
      r.executions = 1;
      std::printf("%s\n", trace_.c_str());
    } else {
      search(body, r);
    }
    r.failed = failed_;
    if (failed_) {
      r.message = message_;
      r.schedule = format();
      if (!tracing_) {
        tracing_ = replaying_ = true;
        run_once(body);
      }
      r.trace = trace_ + "=> " + message_ + "\n";
    }
    const char* const seen = r.complete ? "complete" : r.sampled ? "random" : "not complete";
    std::printf("[   model  ] %s: %ld executions, bound %d, %s%s\n", options_.name, r.executions, options_.bound,
                failed_ ? "FAILED: " : seen, r.message.c_str());
    current() = former;
    return r;
  }

  // --- threads ---------------------------------------------------------------------------------------------------

  unsigned self() const { return running_; }

  void spawn(std::function<void()> body) {
    if (thread_count_ == max_threads) fail("more than " + std::to_string(max_threads) + " model threads");
    const unsigned parent = running_;
    const unsigned child = add_thread(std::move(body));
    threads_[child].now = threads_[parent].now;
    bump(parent);
    bump(child);  // an access in the first stretch has an epoch that nobody has heard of yet
    if (tracing_) note("spawns T" + std::to_string(child));
  }

  void join_others() {
    struct others {
      const engine* e;
      unsigned self;
    } const argument{this, running_};
    point(
        [](const void* p) {
          const auto* o = static_cast<const others*>(p);
          for (unsigned i = 0; i < o->e->thread_count_; ++i) {
            if (i != o->self && !o->e->threads_[i].finished) return false;
          }
          return true;
        },
        &argument, "the end of the other threads");
    for (unsigned i = 0; i < thread_count_; ++i) me().now.join(threads_[i].now, location_count_);
  }

  // Any of `count` for the test itself.
  unsigned any_of(unsigned count) {
    const unsigned taken = choose(count);
    if (tracing_) note("chooses " + std::to_string(taken));
    return taken;
  }

  // A scheduling point: comes back when this thread was chosen again, and `ready` holds.
  void point(bool (*ready)(const void*) = nullptr, const void* argument = nullptr, const char* waits_for = nullptr) {
    thread& t = me();
    if (++steps_ > options_.steps) fail("no end after " + std::to_string(options_.steps) + " steps: a livelock");
    t.ready = ready;
    t.ready_argument = argument;
    t.waits_for = waits_for;
    if (t.fresh && enabled(running_)) {
      t.fresh = false;
    } else {
      t.fresh = false;
      switch_to(pick(true));
    }
    me().ready = nullptr;
  }

  void pause() {
    thread& t = me();
    if (t.read.empty()) return yield();
    // Something newer than what was read may be there already: then it goes on at once, and max_stale_repeats sees to
    // it that the old value is not read for ever.
    constexpr auto changed = [](const void* p) {
      for (const spinning& s : static_cast<const thread*>(p)->read) {
        if (current()->locations_[s.location].length > s.length) return true;
      }
      return false;
    };
    if (!changed(&t)) point(changed, &t, "a word to change (pause)");
    t.read.clear();
  }

  void yield() {
    thread& t = me();
    t.yielded_at = steps_ + 1;
    point([](const void* p) { return current()->steps_ > static_cast<const thread*>(p)->yielded_at; }, &t, yielding);
    t.read.clear();
  }

  [[noreturn]] void fail(const std::string& message) {
    failed_ = true;
    message_ = "T" + std::to_string(running_) + ": " + message;
    boost::context::detail::jump_fcontext(outside_, nullptr);
    std::abort();  // nobody comes back to an abandoned fiber
  }

  // --- memory ----------------------------------------------------------------------------------------------------

  unsigned new_location(std::uint64_t value) {
    if (location_count_ == max_locations) fail("more than " + std::to_string(max_locations) + " atomics");
    location& l = locations_[location_count_];
    l.length = 0;
    next_store(l, value, false);
    l.touched = {};
    l.touched.at[running_] = me().now.happened.at[running_];
    for (auto& s : l.stale) s = {};
    l.alive = true;
    l.maker = running_;
    l.made = me().now.happened.at[running_];
    return location_count_++;
  }

  void end_location(unsigned id) {
    location& l = locations_[id];
    for (unsigned i = 0; i < thread_count_; ++i) {
      if (i != running_ && l.touched.at[i] > me().now.happened.at[i]) {
        fail("#" + std::to_string(id) + " is destroyed, but an access by T" + std::to_string(i) +
             " does not happen before");
      }
    }
    l.alive = false;
  }

  std::uint64_t load(unsigned id, order o) {
    point();
    location& l = touch(id);
    unsigned oldest = me().now.seen.at[id];
    if (o == order::seq_cst && sc_.at[id] > oldest) oldest = sc_.at[id];
    const unsigned newest = l.length - 1;
    if (options_.stale >= 0 && stale_ >= options_.stale) oldest = newest;
    auto& repeats = l.stale[running_];
    if (repeats.times >= max_stale_repeats && repeats.index >= oldest && oldest < newest) oldest = repeats.index + 1;
    const unsigned index = newest - choose(newest - oldest + 1);
    if (index != newest) ++stale_;
    repeats = {index, index != newest && index == repeats.index ? repeats.times + 1 : 1};
    const store& s = l.stores[index];
    if (tracing_) {
      note(std::string("load ") + text_of(o) + " " + word_of(id, s.value) +
           (index == newest ? "" : " (old: " + std::to_string(newest - index) + " newer)"));
    }
    observe(id, index, s, o);
    me().read.push_back({id, index + 1});
    return s.value;
  }

  void store_value(unsigned id, std::uint64_t value, order o) {
    point();
    touch(id);
    if (tracing_) note(std::string("store ") + text_of(o) + " " + word_of(id, value));
    append(id, value, o, false);
  }

  // `change` gets the newest value, and says whether it is replaced; it is a load (of `on_failure`) if not.
  template <class F>
  std::uint64_t update(unsigned id, order o, order on_failure, F change) {
    point();
    location& l = touch(id);
    const std::uint64_t former = l.stores[l.length - 1].value;
    std::uint64_t value = former;
    const bool written = change(value);
    const order effective = written ? o : on_failure;
    if (tracing_) {
      note(std::string(written ? "update " : "failed update ") + text_of(effective) + " " + word_of(id, former) +
           (written ? " -> " + std::to_string(value) : ""));
    }
    observe(id, l.length - 1, l.stores[l.length - 1], effective);
    if (written) append(id, value, effective, true);
    me().read.push_back({id, l.length});
    return former;
  }

  void fence(order o) {
    point();
    if (tracing_) note(std::string("fence ") + text_of(o));
    fence_of(running_, o);
  }

  // Each other thread executes a full fence somewhere between begin and end; one that has ended already has no store
  // left to flush.
  void membarrier() {
    point();
    if (tracing_) note("membarrier begins");
    fence_of(running_, order::seq_cst);
    for (unsigned i = 0; i < thread_count_; ++i) {
      if (i == running_) continue;
      if (!threads_[i].finished) point();
      if (tracing_) note("membarrier on T" + std::to_string(i));
      fence_of(i, order::seq_cst);
    }
    fence_of(running_, order::seq_cst);
  }

  // For locks and parking places: a hand-over that is both acquire and release.
  void publish(knowledge& into) {
    into.join(me().now, location_count_);
    bump(running_);
  }
  void acquire(const knowledge& from) { me().now.join(from, location_count_); }

  const clock& happened() const { return threads_[running_].now.happened; }
  bool tracing() const { return tracing_; }
  void note(const std::string& text) { trace_ += "  T" + std::to_string(running_) + "  " + text + "\n"; }

 private:
  static constexpr const char* yielding = "another thread to make a step (yield)";

  thread& me() { return threads_[running_]; }
  void bump(unsigned t) { ++threads_[t].now.happened.at[t]; }

  static std::string word_of(unsigned id, std::uint64_t value) {
    return "#" + std::to_string(id) + " " + std::to_string(value);
  }

  location& touch(unsigned id) {
    if (id >= location_count_ || !locations_[id].alive) fail("access to #" + std::to_string(id) + ", which is dead");
    location& l = locations_[id];
    if (l.made > me().now.happened.at[l.maker]) {
      fail("access to #" + std::to_string(id) + ": its construction by T" + std::to_string(l.maker) +
           " does not happen before");
    }
    l.touched.at[running_] = me().now.happened.at[running_];
    return l;
  }

  void observe(unsigned id, unsigned index, const store& s, order o) {
    thread& t = me();
    if (index > t.now.seen.at[id]) t.now.seen.at[id] = static_cast<std::uint16_t>(index);
    if (o == order::seq_cst && index > sc_.at[id]) sc_.at[id] = static_cast<std::uint16_t>(index);
    if (!s.releasing) return;
    if (acquires(o)) {
      t.now.join(s.published, s.locations);
    } else {
      t.unacquired.join(s.published, s.locations);
      t.has_unacquired = true;
    }
  }

  void append(unsigned id, std::uint64_t value, order o, bool update) {
    thread& t = me();
    location& l = locations_[id];
    const auto index = static_cast<std::uint16_t>(l.length);
    t.now.seen.at[id] = index;
    const bool continues = update && l.stores[index - 1U].releasing;
    store& s = next_store(l, value, releases(o) || t.has_fenced || continues);
    if (s.releasing) {
      if (releases(o) || t.has_fenced) {
        s.published.assign(releases(o) ? t.now : t.fenced, location_count_);
        if (continues) s.published.join(l.stores[index - 1U].published, l.stores[index - 1U].locations);
      } else {
        s.published = l.stores[index - 1U].published;
        s.locations = l.stores[index - 1U].locations;
      }
    }
    if (o == order::seq_cst) sc_.at[id] = index;
    if (releases(o)) bump(running_);
  }

  store& next_store(location& l, std::uint64_t value, bool releasing) {
    if (l.length == l.stores.size()) l.stores.emplace_back();
    store& s = l.stores[l.length++];
    s.value = value;
    s.releasing = releasing;
    s.locations = static_cast<std::uint16_t>(location_count_);
    return s;
  }

  void fence_of(unsigned who, order o) {
    thread& t = threads_[who];
    if (acquires(o) && t.has_unacquired) t.now.join(t.unacquired, location_count_);
    if (o == order::seq_cst) {
      t.now.seen.join(sc_, location_count_);
      sc_ = t.now.seen;
    }
    if (releases(o)) {
      t.fenced = t.now;
      t.has_fenced = true;
      bump(who);
    }
  }

  // --- the search ------------------------------------------------------------------------------------------------

  void search(const std::function<void()>& body, result& r) {
    for (;;) {
      run_once(body);
      ++r.executions;
      if (failed_) return;
      if (options_.random > 0) {
        path_.clear();
        if (r.executions == options_.random) return;
        continue;
      }
      while (!path_.empty() && path_.back().taken + 1 == path_.back().count) path_.pop_back();
      if (path_.empty()) {
        r.complete = true;
        return;
      }
      ++path_.back().taken;
      if (r.executions == options_.limit) return;
    }
  }

  unsigned choose(unsigned count, bool thread_choice = false) {
    if (count == 1) return 0;
    if (position_ < path_.size()) {
      const choice c = path_[position_++];
      if (c.count != count && !(replaying_ && c.count == 0)) {
        fail("the test is not deterministic: " + std::to_string(count) + " choices where there were " +
             std::to_string(c.count));
      }
      return c.taken;
    }
    unsigned taken = 0;
    // Mostly go on with the same thread and read the newest: failures want few, well placed deviations.
    if (options_.random > 0 && !replaying_ && random_() % (thread_choice ? 4 : 2) == 0) {
      taken = static_cast<unsigned>(random_() % count);
    }
    path_.push_back({static_cast<std::uint16_t>(taken), static_cast<std::uint16_t>(count)});
    ++position_;
    return taken;
  }

  void run_once(const std::function<void()>& body) {
    position_ = 0;
    thread_count_ = 0;
    location_count_ = 0;
    sc_ = {};
    steps_ = 0;
    preemptions_ = 0;
    stale_ = 0;
    failed_ = false;
    trace_.clear();
    add_thread([&] {
      body();
      join_others();
    });
    bump(0);
    running_ = 0;
    threads_[0].fresh = false;
    const auto back = boost::context::detail::jump_fcontext(threads_[0].context, this);
    arrived(back);
  }

  unsigned add_thread(std::function<void()> body) {
    const unsigned id = thread_count_++;
    thread& t = threads_[id];
    if (t.stack == nullptr) t.stack = std::make_unique<char[]>(stack_size);
#if defined(MC_ADDRESS_SANITIZER)
    __asan_unpoison_memory_region(t.stack.get(), stack_size);  // what abandoned frames left
#endif
    t.body = std::move(body);
    t.finished = false;
    t.fresh = true;
    t.ready = nullptr;
    t.now = {};
    t.unacquired = {};
    t.fenced = {};
    t.has_unacquired = t.has_fenced = false;
    t.read.clear();
    t.context = boost::context::detail::make_fcontext(t.stack.get() + stack_size, stack_size, [](auto transfer) {
      engine& e = *static_cast<engine*>(transfer.data);
      e.arrived(transfer);
      e.me().body();
      e.me().finished = true;
      e.switch_to(e.pick(false));
    });
    return id;
  }

  // Who jumped here is saved in its place; `leaving_` says who that is.
  void arrived(boost::context::detail::transfer_t transfer) {
    if (leaving_ == nobody) {
      outside_ = transfer.fctx;
    } else {
      threads_[leaving_].context = transfer.fctx;
    }
    leaving_ = nobody;
  }

  void switch_to(unsigned next) {
    if (next == running_ && next != nobody) return;
    leaving_ = running_;
    if (next == nobody) {
      leaving_ = nobody;
      boost::context::detail::jump_fcontext(outside_, nullptr);
      return;
    }
    running_ = next;
    arrived(boost::context::detail::jump_fcontext(threads_[next].context, this));
  }

  bool enabled(unsigned id) const {
    const thread& t = threads_[id];
    return !t.finished && (t.ready == nullptr || t.ready(t.ready_argument));
  }

  // Chooses who makes the next step; `nobody` when all have finished.
  unsigned pick(bool may_go_on) {
    unsigned candidates[max_threads];
    unsigned count = 0;
    const bool goes_on = may_go_on && enabled(running_);
    if (goes_on) candidates[count++] = running_;
    if (!goes_on || options_.bound < 0 || preemptions_ < options_.bound) {
      for (unsigned i = 0; i < thread_count_; ++i) {
        if (!(goes_on && i == running_) && enabled(i)) candidates[count++] = i;
      }
    }
    if (count == 0) {
      std::string waiting;
      for (unsigned i = 0; i < thread_count_; ++i) {
        if (threads_[i].finished) continue;
        if (threads_[i].waits_for == yielding) candidates[count++] = i;
        waiting += (waiting.empty() ? "T" : "; T") + std::to_string(i) + " waits for " + threads_[i].waits_for;
      }
      if (waiting.empty()) return nobody;
      if (count == 0) fail("deadlock or lost wake-up: " + waiting);
    }
    const unsigned taken = choose(count, true);
    if (goes_on && taken != 0) ++preemptions_;
    return candidates[taken];
  }

  // A schedule is "taken/count" for each choice.
  std::string format() const {
    std::string text;
    for (const choice& c : path_) {
      if (!text.empty()) text += ',';
      text += std::to_string(c.taken) + "/" + std::to_string(c.count);
    }
    return text;
  }

  void parse(const char* text) {
    while (*text != '\0') {
      char* end = nullptr;
      const auto taken = static_cast<std::uint16_t>(std::strtoul(text, &end, 10));
      const auto count = static_cast<std::uint16_t>(*end == '/' ? std::strtoul(end + 1, &end, 10) : 0);
      path_.push_back({taken, count});
      text = *end == ',' ? end + 1 : "";
    }
  }

  static constexpr unsigned nobody = max_threads;

  const options options_;
  std::mt19937_64 random_;
  std::vector<choice> path_;
  std::size_t position_ = 0;
  bool tracing_ = false, replaying_ = false, failed_ = false;
  std::string message_, trace_;

  thread threads_[max_threads];
  unsigned thread_count_ = 0, running_ = 0, leaving_ = nobody;
  boost::context::detail::fcontext_t outside_ = nullptr;
  location locations_[max_locations];
  unsigned location_count_ = 0;
  view sc_;
  long steps_ = 0;
  int preemptions_ = 0, stale_ = 0;
};

inline engine& here() { return *engine::current(); }

template <class T>
std::uint64_t to_word(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t word = 0;
  std::memcpy(&word, &value, sizeof(T));
  return word;
}

template <class T>
T from_word(std::uint64_t word) {
  T value;
  std::memcpy(&value, &word, sizeof(T));
  return value;
}

}  // namespace detail

}  // namespace mc
