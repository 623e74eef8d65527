// SPDX-License-Identifier: Apache-2.0
//
// A name server that does not answer, as an event. The test that includes this has a getaddrinfo of its own, which the
// library calls: a host that ends in ".mute" is answered, as 127.0.0.1, once the test says so; a host that ends in
// ".test" at once; all others by the system.
#pragma once

#include <dlfcn.h>
#include <netdb.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string_view>

namespace weft_test {

class mute_names {
 public:
  /// Lives as long as the process: calls that were never answered do.
  static mute_names& instance() {
    static auto* const one = new mute_names;
    return *one;
  }

  /// Forgets what was counted, and answers no more. No call may be under way.
  void begin() {
    const std::lock_guard guard(mutex_);
    calls_ = most_ = answers_ = 0;
    talks_ = false;
  }
  /// Answers `count` calls, of those that wait or that are to come.
  void answer(int count) {
    const std::lock_guard guard(mutex_);
    answers_ += count;
    changed_.notify_all();
  }
  /// Answers all from here on.
  void answer_all() {
    const std::lock_guard guard(mutex_);
    talks_ = true;
    changed_.notify_all();
  }

  /// All calls of getaddrinfo, whatever the name.
  int calls() {
    const std::lock_guard guard(mutex_);
    return calls_;
  }
  /// Those that wait for an answer now, and the most that did at a time.
  int unanswered() {
    const std::lock_guard guard(mutex_);
    return unanswered_;
  }
  int most_unanswered() {
    const std::lock_guard guard(mutex_);
    return most_;
  }

  void note_call(bool mute) {
    std::unique_lock lock(mutex_);
    ++calls_;
    if (!mute) return;
    most_ = std::max(most_, ++unanswered_);
    changed_.wait(lock, [this] { return talks_ || answers_ != 0; });
    if (!talks_) --answers_;
    --unanswered_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int calls_ = 0, unanswered_ = 0, most_ = 0, answers_ = 0;
  bool talks_ = false;
};

}  // namespace weft_test

extern "C" int getaddrinfo(const char* host, const char* port, const addrinfo* hints, addrinfo** found) {
  static const auto systems = reinterpret_cast<decltype(&getaddrinfo)>(dlsym(RTLD_NEXT, "getaddrinfo"));
  const std::string_view name = host != nullptr ? host : "";
  const bool mute = name.ends_with(".mute");
  weft_test::mute_names::instance().note_call(mute);
  return systems(mute || name.ends_with(".test") ? "127.0.0.1" : host, port, hints, found);
}
