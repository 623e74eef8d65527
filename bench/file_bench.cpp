// SPDX-License-Identifier: Apache-2.0
//
// 4 KiB reads at random places of a file, so many at a time ("d1", "d32"), by each way there is:
//
//   file_cached_*   weft::file, data in the page cache: copied by the caller, no engine
//   file_ring_*     the same data through the io_uring engine
//   file_pool_*     the same data through the threads that stand in for it
//   file_threads_*  pread by so many plain threads, without fibers
//   *_direct_*      O_DIRECT: each read goes to the device
//
// Besides the time of a read, `..._cpu`: CPU of the whole process for one, in ns. WEFT_FILE_BENCH names the folder of
// the 64 MiB file (.).
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <weft/file.hpp>
#include <weft/weft.hpp>

#include "bench/harness.hpp"
#include "netpoll/backend.hpp"

namespace {

constexpr std::size_t block = 4096;
constexpr std::uint64_t blocks = 16384;

class data_file {
 public:
  data_file() {
    const char* const folder = std::getenv("WEFT_FILE_BENCH");
    path_ = std::string(folder != nullptr ? folder : ".") + "/weft_file_bench_XXXXXX";
    const int fd = mkstemp(path_.data());
    if (fd < 0) throw std::runtime_error("cannot make " + path_);
    const std::string megabyte(std::size_t{1} << 20, 'x');
    for (std::uint64_t i = 0; i < blocks * block; i += megabyte.size())
      if (write(fd, megabyte.data(), megabyte.size()) != static_cast<ssize_t>(megabyte.size()))
        throw std::runtime_error("no room for " + path_);
    fsync(fd);
    close(fd);
  }
  ~data_file() { unlink(path_.c_str()); }
  data_file(const data_file&) = delete;
  data_file& operator=(const data_file&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::uint64_t next_place(std::uint64_t& state) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (state >> 33) % blocks * block;
}

struct room {
  void* at = std::aligned_alloc(block, block);
  ~room() { std::free(at); }
};

/// Runs `reader(reads)` `depth` times beside each other, so that `operations` are done in all.
using crew = void (*)(int depth, const std::function<void(std::uint64_t seed, long reads)>& reader, long operations);

void by_fibers(int depth, const std::function<void(std::uint64_t, long)>& reader, long operations) {
  weft::scope s;
  for (int i = 0; i < depth; ++i) s.go([&, i] { reader(static_cast<std::uint64_t>(i) + 1, operations / depth); });
  s.join();
}

void by_threads(int depth, const std::function<void(std::uint64_t, long)>& reader, long operations) {
  std::vector<std::thread> threads;
  for (int i = 0; i < depth; ++i)
    threads.emplace_back([&, i] { reader(static_cast<std::uint64_t>(i) + 1, operations / depth); });
  for (auto& each : threads) each.join();
}

void report(const bench::context& c, int depth, long operations, crew crew_of,
            const std::function<void(std::uint64_t, long)>& reader) {
  crew_of(depth, reader, operations / 10 + depth);
  std::vector<double> wall, cpu;
  for (int i = 0; i < 5; ++i) {
    const auto began = bench::now_ns(), used = bench::cpu_ns();
    crew_of(depth, reader, operations);
    wall.push_back(static_cast<double>(bench::now_ns() - began) / static_cast<double>(operations));
    cpu.push_back(static_cast<double>(bench::cpu_ns() - used) / static_cast<double>(operations));
  }
  c.report(c.row, bench::percentile(wall, 0.5), "ns");
  c.report(c.row + "_cpu", bench::percentile(cpu, 0.5), "ns");
}

weft::options for_backend(const bench::context& c, weft::netpoll_backend backend) {
  return {.maxprocs = c.w, .netpoll = backend};
}

void cached(const bench::context& c, int depth) {
  const data_file on_disk;
  weft::run(for_backend(c, weft::netpoll_backend::automatic), [&] {
    auto f = weft::file::open(on_disk.path(), O_RDONLY);
    report(c, depth, c.scale(400'000), by_fibers, [&](std::uint64_t seed, long reads) {
      const room to;
      for (long i = 0; i < reads; ++i) f.read_at(next_place(seed), std::span(static_cast<std::byte*>(to.at), block));
    });
  });
}

void by_engine(const bench::context& c, int depth, weft::netpoll_backend backend, bool direct) {
  const data_file on_disk;
  weft::run(for_backend(c, backend), [&] {
    auto f = weft::file::open(on_disk.path(), O_RDONLY | (direct ? O_DIRECT : 0));
    report(c, depth, c.scale(direct ? 30'000 : 150'000), by_fibers, [&](std::uint64_t seed, long reads) {
      const room to;
      for (long i = 0; i < reads; ++i) {
        weft::rt::file_op op(weft::rt::file_action::read, f.native_handle(), to.at, block, next_place(seed));
        op.direct = direct;
        perform(weft::rt::engine_for_files(), op);
        if (op.error != 0 || op.done != block) std::abort();
      }
    });
  });
}

void plain(const bench::context& c, int depth, bool direct) {
  const data_file on_disk;
  const int fd = open(on_disk.path().c_str(), O_RDONLY | (direct ? O_DIRECT : 0));
  report(c, depth, c.scale(direct ? 30'000 : 400'000), by_threads, [&](std::uint64_t seed, long reads) {
    const room to;
    for (long i = 0; i < reads; ++i)
      if (pread(fd, to.at, block, static_cast<off_t>(next_place(seed))) != static_cast<ssize_t>(block)) std::abort();
  });
  close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  using weft::netpoll_backend;
  std::vector<bench::row> rows;
  for (const int depth : {1, 32}) {
    const std::string d = "_d" + std::to_string(depth);
    rows.push_back({"file_cached" + d, {1}, [=](const bench::context& c) { cached(c, depth); }});
    for (const bool direct : {false, true}) {
      const std::string how = direct ? "_direct" + d : d;
      const auto engine = [=](netpoll_backend backend) {
        return [=](const bench::context& c) { by_engine(c, depth, backend, direct); };
      };
      rows.push_back({"file_ring" + how, {1}, engine(netpoll_backend::io_uring)});
      rows.push_back({"file_pool" + how, {1}, engine(netpoll_backend::epoll)});
      rows.push_back({"file_threads" + how, {1}, [=](const bench::context& c) { plain(c, depth, direct); }});
    }
  }
  return bench::main(argc, argv, rows);
}
