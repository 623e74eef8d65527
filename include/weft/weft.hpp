// SPDX-License-Identifier: Apache-2.0
// Everything but net, file, asio, debug and testing.
#pragma once

#include <weft/chan.hpp>
#include <weft/error.hpp>
#include <weft/fiber.hpp>
#include <weft/options.hpp>
#include <weft/runtime.hpp>
#include <weft/scope.hpp>
#include <weft/select.hpp>
#include <weft/signals.hpp>
#include <weft/sync.hpp>
#include <weft/time.hpp>
