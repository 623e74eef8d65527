// SPDX-License-Identifier: Apache-2.0
// What can be done with anything that reads and writes: weft's streams, and those that the program makes of its own.
#pragma once

#include <weft/io/copy.hpp>
#include <weft/io/copy_both.hpp>
#include <weft/io/lines.hpp>
#include <weft/io/reader.hpp>
#include <weft/io/stream.hpp>
#include <weft/io/writer.hpp>
