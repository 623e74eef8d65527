// SPDX-License-Identifier: Apache-2.0
// Fibers, channels and scopes in twenty lines: four workers square what one producer sends, and main adds it up.
#include <cstdio>
#include <exception>

#include <weft/weft.hpp>

static int sum_of_squares() {
  weft::chan<int> jobs(64), results(64);  // a chan is a shared handle: capture it by value
  weft::scope s;                          // what runs in it ends before it does
  s.go([=] {
    for (int i = 0; i < 1000; ++i) jobs.send(i);
    jobs.close();
  });
  s.go([=] {
    weft::scope workers;
    for (int w = 0; w < 4; ++w)
      workers.go([=] {
        for (int j : jobs) results.send(j * j);
      });
    workers.join();
    results.close();
  });
  long sum = 0;
  for (int r : results) sum += r;
  s.join();
  std::printf("%ld\n", sum);
  return sum == 332833500 ? 0 : 1;
}

int main() {
  try {
    return weft::run(sum_of_squares);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "hello: %s\n", e.what());
    return 2;
  }
}
