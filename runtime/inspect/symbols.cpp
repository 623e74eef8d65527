// SPDX-License-Identifier: Apache-2.0
// Names from the loader and from the symbol tables of files. No offset in a file is trusted: a file may have been
// replaced since it was loaded, and a dump must not be what ends the process.
#include "runtime/inspect/symbols.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "runtime/inspect/wrapper_frame.hpp"

namespace weft::rt {

namespace {

constexpr std::size_t longest_name = 200;

struct symbol {
  std::uintptr_t begin;  // before relocation
  std::uintptr_t size;
  const char* name;
};

class module_symbols {
 public:
  module_symbols(std::uintptr_t loaded_at, const char* path) : loaded_at_(loaded_at) {
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    struct stat about {};
    if (fstat(file, &about) == 0 && about.st_size > 0) {
      size_ = static_cast<std::size_t>(about.st_size);
      void* const mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
      if (mapped != MAP_FAILED) data_ = static_cast<const char*>(mapped);
    }
    close(file);
    if (data_ == nullptr) return;
    read_tables();
    std::sort(symbols_.begin(), symbols_.end(), [](const symbol& a, const symbol& b) { return a.begin < b.begin; });
  }

  std::uintptr_t loaded_at() const noexcept { return loaded_at_; }

  /// The function around `address`, relocated; null if none is.
  const symbol* find(std::uintptr_t address) const noexcept {
    const std::uintptr_t wanted = address - loaded_at_;
    auto at = std::upper_bound(symbols_.begin(), symbols_.end(), wanted,
                               [](std::uintptr_t a, const symbol& s) { return a < s.begin; });
    if (at == symbols_.begin()) return nullptr;
    --at;
    return wanted - at->begin < at->size ? &*at : nullptr;
  }

 private:
  template <class T>
  const T* at(std::uint64_t offset, std::uint64_t count = 1) const noexcept {
    if (offset > size_ || count > (size_ - offset) / sizeof(T) || offset % alignof(T) != 0) return nullptr;
    return reinterpret_cast<const T*>(data_ + offset);
  }

  void read_tables() {
    const auto* const head = at<ElfW(Ehdr)>(0);
    if (head == nullptr || std::memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_shentsize != sizeof(ElfW(Shdr)))
      return;
    const auto* const sections = at<ElfW(Shdr)>(head->e_shoff, head->e_shnum);
    if (sections == nullptr) return;
    for (unsigned i = 0; i < head->e_shnum; ++i) {
      if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_link < head->e_shnum)
        read_symbols(sections[i], sections[sections[i].sh_link]);
    }
  }

  void read_symbols(const ElfW(Shdr) & table, const ElfW(Shdr) & strings) {
    const std::uint64_t count = table.sh_size / sizeof(ElfW(Sym));
    const auto* const entries = at<ElfW(Sym)>(table.sh_offset, count);
    const char* const names = at<char>(strings.sh_offset, strings.sh_size);
    if (entries == nullptr || names == nullptr || strings.sh_size == 0 || names[strings.sh_size - 1] != '\0') return;
    for (std::uint64_t i = 0; i < count; ++i) {
      const ElfW(Sym)& entry = entries[i];
      if ((entry.st_info & 0xf) != STT_FUNC || entry.st_shndx == SHN_UNDEF || entry.st_name >= strings.sh_size)
        continue;
      symbols_.push_back({entry.st_value, std::max<std::uintptr_t>(entry.st_size, 1), names + entry.st_name});
    }
  }

  std::uintptr_t loaded_at_;
  const char* data_ = nullptr;  // mapped forever: the names in it are handed out
  std::size_t size_ = 0;
  std::vector<symbol> symbols_;
};

constinit std::mutex modules_lock;

// Never destroyed: the end of the process may want a name.
std::list<module_symbols>& modules() {
  static auto* const all = new std::list<module_symbols>;
  return *all;
}

const symbol* find_in_file(const link_map& module, std::uintptr_t address) {
  const std::lock_guard lock(modules_lock);
  for (const module_symbols& known : modules())
    if (known.loaded_at() == module.l_addr) return known.find(address);
  const bool is_program = module.l_name == nullptr || module.l_name[0] == '\0';
  return modules().emplace_back(module.l_addr, is_program ? "/proc/self/exe" : module.l_name).find(address);
}

std::string hex(std::uintptr_t value) {
  char text[2 + 16 + 1];
  std::snprintf(text, sizeof text, "0x%lx", static_cast<unsigned long>(value));
  return text;
}

std::string_view file_name(const char* path) noexcept {
  const char* const slash = std::strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

// The name of the inline namespace is left out.
std::string whole_name(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  std::string name = text != nullptr ? text.get() : mangled;
  constexpr std::string_view hidden = "weft::v0::";
  for (std::size_t at = 0; (at = name.find(hidden, at)) != std::string::npos; at += 6) name.erase(at + 6, 4);
  return name;
}

// A template's arguments can fill a screen.
std::string shortened(std::string_view name) {
  if (name.size() <= longest_name) return std::string(name);
  return std::string(name.substr(0, longest_name - 3)) + "...";
}

void set_function(code_name& result, const char* mangled) {
  const std::string name = whole_name(mangled);
  const wrapper_frame found = find_wrapper_frame(name);
  result.wrapper = found.is;
  result.function = shortened(found.is ? found.closure : name);
}

}  // namespace

std::string demangle(const char* mangled) { return shortened(whole_name(mangled)); }

code_name name_return_address(std::uintptr_t pc) {
  const std::uintptr_t call = pc - 1;  // the return address itself may be the next function's first byte
  Dl_info info{};
  link_map* module = nullptr;
  if (dladdr1(reinterpret_cast<void*>(call), &info, reinterpret_cast<void**>(&module), RTLD_DL_LINKMAP) == 0 ||
      module == nullptr)
    return {{}, hex(pc), false};
  code_name result;
  std::string offset;
  if (const symbol* const found = find_in_file(*module, call)) {
    set_function(result, found->name);
    offset = hex(pc - module->l_addr - found->begin);
  } else if (info.dli_sname != nullptr) {
    set_function(result, info.dli_sname);
    offset = hex(pc - reinterpret_cast<std::uintptr_t>(info.dli_saddr));
  }
  const std::string in_file = std::string(file_name(info.dli_fname)) + "+" + hex(call - module->l_addr);
  result.place = result.function.empty() ? in_file : result.function + "+" + offset + " (" + in_file + ")";
  return result;
}

bool is_code(std::uintptr_t pc) noexcept {
  struct question {
    std::uintptr_t pc;
    bool yes;
  } asked{pc, false};
  dl_iterate_phdr(
      [](dl_phdr_info* module, std::size_t, void* arg) {
        auto& question_of = *static_cast<question*>(arg);
        for (unsigned i = 0; i < module->dlpi_phnum; ++i) {
          const ElfW(Phdr)& part = module->dlpi_phdr[i];
          const std::uintptr_t begin = module->dlpi_addr + part.p_vaddr;
          if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
          // Not the first bytes: the caller has a return address and looks at the call before it.
          if (question_of.pc >= begin + 8 && question_of.pc < begin + part.p_memsz) question_of.yes = true;
        }
        return question_of.yes ? 1 : 0;
      },
      &asked);
  return asked.yes;
}

bool is_in_c_library(std::uintptr_t pc) noexcept {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(pc), &info) == 0 || info.dli_fname == nullptr) return false;
  const std::string_view name = file_name(info.dli_fname);
  for (const std::string_view library : {"libc.so", "libpthread.so", "ld-linux", "libasan.so", "libtsan.so"})
    if (name.starts_with(library)) return true;
  return false;
}

}  // namespace weft::rt
