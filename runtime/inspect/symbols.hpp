// SPDX-License-Identifier: Apache-2.0
// The names of code addresses.
//
// The loader knows exported functions only; lambdas and static functions, which is what most fibers run, are in the
// file's symbol table. So the file of a module is mapped once, when the first of its addresses is asked for, and its
// table is kept sorted forever: a dump asks for the same few again and again. A stripped module has the loader's
// names, or none.
//
// May allocate, lock and read files: never from a signal handler, never under a lock of the scheduler. Any thread.
#pragma once

#include <cstdint>
#include <string>

namespace weft::rt {

struct code_name {
  std::string function;  ///< demangled, without the name of the inline namespace; empty: not known
  std::string place;     ///< "function+0x12 (module+0x345)", the second for addr2line; whatever of it is known
  /// A template of weft's around `function` (wrapper_frame.hpp); around nothing that has a name if that is empty.
  bool wrapper = false;
};

/// `pc` is a return address: it is the call before it that is named. Throws std::bad_alloc.
code_name name_return_address(std::uintptr_t pc);

/// Returns true if `pc` lies in the code of a loaded module.
bool is_code(std::uintptr_t pc) noexcept;
/// Returns true if the module that holds `pc` is the C library, the loader, or a sanitizer that stands before them.
bool is_in_c_library(std::uintptr_t pc) noexcept;

/// "weft::cancelled" for the name in a type_info. Throws std::bad_alloc.
std::string demangle(const char* mangled);

}  // namespace weft::rt
