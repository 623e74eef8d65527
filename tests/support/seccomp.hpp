// SPDX-License-Identifier: Apache-2.0
//
// System calls that fail as they do under an older kernel or a strict container, by a filter that the calling process
// gives itself. It cannot be taken back: only in a child (child.hpp).
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace weft_test {

struct refusal {
  long call;
  int error;
  int argument = -1;        ///< refuse only if this argument ...
  std::uint32_t value = 0;  ///< ... is this
};

/// For all threads of the process. False: filters cannot be had here.
inline bool refuse(std::initializer_list<refusal> refusals) {
  std::vector<sock_filter> program;
  for (const refusal& r : refusals) {
    const bool any = r.argument < 0;
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(r.call), 0,
                               static_cast<std::uint8_t>(any ? 1 : 3)));
    if (!any) {
      const auto at =
          offsetof(seccomp_data, args) + static_cast<std::size_t>(r.argument) * 8;  // the low half: little endian
      program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(at)));
      program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, r.value, 0, 1));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(r.error)));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0;
}

}  // namespace weft_test
