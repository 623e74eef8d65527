// SPDX-License-Identifier: Apache-2.0
// Pipes.
//
// As Linux has it (fs/pipe.c): an arrival for the reader with each write that moves something; one for the writer when
// a full pipe has room again; a change of state for one end when the other is closed. EPOLLHUP holds for the reader
// without a writer, EPOLLERR for the writer without a reader. To read or write nothing is no error, whatever has become
// of the other end.
//
// Differs from Linux: room is counted in bytes, not in pages, and a pipe takes what fits, also of a write that is no
// longer than PIPE_BUF. Not modelled: SIGPIPE, FIFOs, packets (O_DIRECT), splice.
#pragma once

namespace sim::kernel {

struct file;

struct pipe_ends {
  file* reader;
  file* writer;
};
pipe_ends new_pipe();

}  // namespace sim::kernel
