// SPDX-License-Identifier: Apache-2.0
// A pipeline whose consumer decides when it is over: an endless source, workers that share its stream (fan-out) and
// send to one channel (fan-in), and a consumer that has had enough after some results.
//
// The channels are made by weft::channel, so their ends close them by ownership. What runs dry closes downstream: once
// the last sender is gone, the receivers' loops end. What is not wanted any more closes upstream: once the last
// receiver is gone, `send` throws channel_closed. Nobody is told to stop, and nothing is cancelled.
//
//   pipeline [HOW_MANY]
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>

static std::size_t how_many_from(int argc, char** argv) {
  if (argc == 1) return 100;
  const std::string_view text = argv[1];
  std::size_t n = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (argc != 2 || error != std::errc{} || rest != text.data() + text.size() || n > 10'000)
    throw std::invalid_argument("usage: pipeline [HOW_MANY], a number from 0 to 10000, not '" + std::string(text) +
                                "'");
  return n;
}

/// Runs `f` as a stage: that nobody wants its results any more is its ordinary end.
template <class F>
static auto stage(F f) {
  return [f = std::move(f)] {
    try {
      f();
    } catch (const weft::channel_closed&) {
    }
  };
}

/// FNV-1a of the eight bytes of `key`: something to compute.
static std::uint64_t hash_of(std::uint64_t key) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (int byte = 0; byte < 8; ++byte) hash = (hash ^ (key >> (8 * byte) & 0xff)) * 0x100000001b3;
  return hash;
}

static bool is_wanted(std::uint64_t key) { return hash_of(key) % 256 == 0; }

static weft::receiver<std::uint64_t> count(weft::scope& stages) {
  auto [tx, rx] = weft::channel<std::uint64_t>(64);
  stages.go(stage([tx = std::move(tx)] {
    for (std::uint64_t n = 0;; ++n) tx.send(n);
  }));
  return rx;
}

static weft::receiver<std::uint64_t> search(weft::scope& stages, const weft::receiver<std::uint64_t>& keys,
                                            int workers) {
  auto [tx, rx] = weft::channel<std::uint64_t>(16);
  for (int w = 0; w < workers; ++w)
    stages.go(stage([keys, tx = tx] {  // each has ends of its own
      for (std::uint64_t key : keys)
        if (is_wanted(key)) tx.send(key);
    }));
  return rx;
}  // here the function's own `tx` goes: it would keep the channel open

static int run_pipeline(std::size_t how_many) {
  weft::scope stages;
  weft::receiver<std::uint64_t> hits = search(stages, count(stages), 4);
  std::set<std::uint64_t> found;  // in no particular order: the workers overtake each other
  while (found.size() < how_many) {
    const std::uint64_t key = hits.recv().value();
    if (!is_wanted(key) || !found.insert(key).second) return 1;
  }
  hits = {};      // the last receiver: the workers end, with them the source's receivers, and so the source
  stages.join();  // all have ended
  std::printf("%zu keys found; fibers left: %zu\n", found.size(), weft::num_fibers() - 1);  // this one does not count
  return weft::num_fibers() == 1 ? 0 : 1;
}

int main(int argc, char** argv) {
  try {
    return weft::run([how_many = how_many_from(argc, argv)] { return run_pipeline(how_many); });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "pipeline: %s\n", e.what());
    return 2;
  }
}
