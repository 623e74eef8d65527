// SPDX-License-Identifier: Apache-2.0
//
// usage: plugin_host PLUGIN
// A program without weft that loads a shared object with it.

#include <dlfcn.h>

#include <cstdio>

int main(int, char** arguments) {
  void* const plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (plugin == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  const auto work = reinterpret_cast<int (*)()>(dlsym(plugin, "plugin_work"));
  return work == nullptr ? 1 : work();
}
