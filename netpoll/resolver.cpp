// SPDX-License-Identifier: Apache-2.0
#include "netpoll/resolver.hpp"

#include <netinet/in.h>
#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include "netpoll/failure.hpp"
#include "netpoll/open.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/signal_mask.hpp"

namespace weft::rt {

bool resolver::ask(std::unique_ptr<name_request>& asked) noexcept {
  if (cancelled_at_entry()) return false;
  name_request& r = *asked;
  if (put_in_line(r)) start_thread();
  if (wait_until_done(r) == wait_outcome::ok) return true;
  detail::spin_guard guard(lock_);
  if (r.now == name_request::state::in_line) unlink(r);
  if (r.now == name_request::state::running) {
    r.now = name_request::state::left;
    static_cast<void>(asked.release());
  }
  return false;
}

/// Returns true if the caller must start a thread, which is counted.
bool resolver::put_in_line(name_request& r) noexcept {
  bool wake = false;
  bool start = false;
  {
    detail::spin_guard guard(lock_);
    r.prev = last_;
    (last_ != nullptr ? last_->next : first_) = &r;
    last_ = &r;
    ++in_line_;
    came_in_line_.fetch_add(1, std::memory_order_relaxed);
    wake = idle_ != 0;
    start = in_line_ > idle_ + starting_ && running_ + starting_ < limit_;
    starting_ += start;
  }
  if (wake) futex_wake(came_in_line_);
  return start;
}

void resolver::start_thread() noexcept {
  const int error = make_(thread_main, this);
  if (error == 0) return;
  g_list ready;
  {
    detail::spin_guard guard(lock_);
    --starting_;
    while (running_ == 0 && starting_ == 0 && first_ != nullptr) {
      name_request& r = *first_;
      unlink(r);
      r.now = name_request::state::done;
      r.code = EAI_SYSTEM;
      r.error = error;
      wait_queue<env>(r.waiters).pop_all(wait_result::ok, ready);
    }
  }
  wake_all(ready);
}

wait_outcome resolver::wait_until_done(name_request& r) noexcept {
  lock_.lock();
  if (r.now == name_request::state::done) {
    lock_.unlock();
    return wait_outcome::ok;
  }
  waiter<env> w;
  return wait_in_queue<env>(lock_, r.waiters, w, {wait_reason::io_wait, true, never});
}

void resolver::unlink(name_request& r) noexcept {
  (r.prev != nullptr ? r.prev->next : first_) = r.next;
  (r.next != nullptr ? r.next->prev : last_) = r.prev;
  r.next = r.prev = nullptr;
  --in_line_;
}

int resolver::threads() noexcept {
  detail::spin_guard guard(lock_);
  return running_;
}

void resolver::forget() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  lock_.~spin_lock();
  new (&lock_) detail::spin_lock;  // a thread that does not exist here may have held it
  first_ = last_ = nullptr;
  in_line_ = running_ = starting_ = idle_ = 0;
}

void* resolver::thread_main(void* self) noexcept {
  block_foreign_signals();
  os::name_thread("weft-resolver");
  static_cast<resolver*>(self)->serve();
  return nullptr;
}

void resolver::serve() noexcept {
  {
    detail::spin_guard guard(lock_);
    --starting_;
    ++running_;
  }
  while (name_request* r = next_or_end()) {
    addrinfo* found = nullptr;
    r->code = getaddrinfo(r->host.c_str(), r->port.c_str(), &r->hints, &found);
    r->error = errno;
    if (r->code == 0) r->found = found;
    finish(*r);
  }
}

/// Returns nullptr if the thread, which is no longer counted, must end.
name_request* resolver::next_or_end() noexcept {
  const nanoseconds_t began = steady_now();
  bool was_idle = false;
  for (;;) {
    std::uint32_t seen = 0;
    {
      detail::spin_guard guard(lock_);
      if (std::exchange(was_idle, true)) --idle_;
      if (name_request* const r = first_) {
        unlink(*r);
        r->now = name_request::state::running;
        return r;
      }
      if (steady_now() - began >= patience_) {
        --running_;
        return nullptr;
      }
      ++idle_;
      seen = came_in_line_.load(std::memory_order_relaxed);
    }
    futex_wait(came_in_line_, seen, patience_);
  }
}

/// The last access to the request.
void resolver::finish(name_request& r) noexcept {
  g_list ready;
  bool left = false;
  {
    detail::spin_guard guard(lock_);
    left = r.now == name_request::state::left;
    if (!left) {
      r.now = name_request::state::done;
      wait_queue<env>(r.waiters).pop_all(wait_result::ok, ready);
    }
  }
  if (left) delete &r;
  wake_all(ready);
}

namespace {

constinit resolver the_resolver;  // never destroyed: threads that are stuck in a call outlive the statics

void watch_forks_once() noexcept {
  [[maybe_unused]] static const int once = pthread_atfork(nullptr, nullptr, []() noexcept { the_resolver.forget(); });
}

/// getaddrinfo's own errors, where they are no errno.
class resolver_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "weft.resolver"; }
  std::string message(int code) const override { return gai_strerror(code); }
  std::error_condition default_error_condition(int code) const noexcept override {
    switch (code) {
      case EAI_AGAIN:
        return std::errc::resource_unavailable_try_again;
      case EAI_FAMILY:
        return std::errc::address_family_not_supported;
      case EAI_SERVICE:
        return std::errc::invalid_argument;
      case EAI_NONAME:
      case EAI_FAIL:
        return std::errc::host_unreachable;
      default:
        return {code, *this};
    }
  }
};

std::error_code resolver_error(int code, int error) {
  static const auto* const category = new resolver_category;  // outlives the statics that hold an error
  if (code == EAI_SYSTEM) return {error, std::system_category()};
  if (code == EAI_MEMORY) return {ENOMEM, std::system_category()};
  return {code, *category};
}

}  // namespace

void resolve_name(const std::string& host, const std::string& port, bool passive, int type, lookup& result) {
  refuse_after_fork("a lookup of a name");
  watch_forks_once();
  auto asked = std::make_unique<name_request>(host, port, passive, type);
  if (!the_resolver.ask(asked)) {
    const failure why = failure_of(wait_outcome::cancelled);
    result.error = to_code(why);
    result.cancelled = why.cancelled;
    return;
  }
  if (asked->code != 0) {
    result.error = resolver_error(asked->code, asked->error);
    return;
  }
  for (const addrinfo* each = asked->found; each != nullptr; each = each->ai_next) {
    sockaddr_storage address{};
    if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
    std::memcpy(&address, each->ai_addr, std::min<std::size_t>(each->ai_addrlen, sizeof address));
    result.found.push_back(endpoint_access::from(address));
  }
  if (result.found.empty()) result.error = resolver_error(EAI_NONAME, 0);
}

}  // namespace weft::rt
