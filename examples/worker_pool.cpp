// SPDX-License-Identifier: Apache-2.0
// A bounded pool of workers: many jobs, a few at a time, and some of them fail without harm to the others.
//
// There are no worker fibers that wait for jobs: a fiber is cheap, so each job is one, and the scope's limit is the
// bound. `collect` keeps the errors, and lets the siblings of a job that failed go on.
//
//   worker_pool [JOBS]
#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <weft/weft.hpp>

using namespace std::chrono_literals;

static constexpr int workers = 4;

static std::size_t jobs_from(int argc, char** argv) {
  if (argc == 1) return 40;
  const std::string_view text = argv[1];
  std::size_t n = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (argc != 2 || error != std::errc{} || rest != text.data() + text.size() || n > 10'000)
    throw std::invalid_argument("usage: worker_pool [JOBS], a number from 0 to 10000, not '" + std::string(text) + "'");
  return n;
}

static long work(std::size_t job) {
  weft::sleep_for(1ms);  // a request to somebody, say
  if (job % 7 == 6) throw std::runtime_error("job " + std::to_string(job) + ": no answer");
  return static_cast<long>(job * job);
}

static int run_jobs(std::size_t jobs) {
  std::vector<std::optional<long>> results(jobs);  // each job writes its own, and `join` shows them all to us
  std::atomic<int> running = 0, most = 0;
  weft::scope pool(weft::collect, {.limit = workers});
  for (std::size_t job = 0; job < jobs; ++job)
    pool.go([&, job] {  // waits while all workers are busy
      const int now = ++running;
      for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
      }
      struct leaving {
        std::atomic<int>& running;
        ~leaving() { --running; }
      } at_the_end{running};
      results[job] = work(job);
    });
  pool.join();  // throws none of the jobs' errors

  std::vector<std::string> failures;
  for (const std::exception_ptr& error : pool.errors())  // the first 64; error_count() counts all
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      failures.emplace_back(e.what());
    }
  std::sort(failures.begin(), failures.end());
  for (const std::string& failure : failures) std::printf("%s\n", failure.c_str());

  std::size_t done = 0;
  bool right = most <= workers && pool.error_count() == jobs / 7;
  for (std::size_t job = 0; job < jobs; ++job) {
    if (results[job]) ++done;
    right = right && (job % 7 == 6 ? !results[job] : results[job] == static_cast<long>(job * job));
  }
  std::printf("%zu jobs: %zu done, %zu failed\n", jobs, done, pool.error_count());
  return right ? 0 : 1;
}

int main(int argc, char** argv) {
  try {
    return weft::run([jobs = jobs_from(argc, argv)] { return run_jobs(jobs); });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "worker_pool: %s\n", e.what());
    return 2;
  }
}
