# SPDX-License-Identifier: Apache-2.0
# What libweft needs to link. Included by our build, and by weft-config.cmake for users of the static library, so that
# the two can never name different things. None of it shows in a public header (weft/asio.hpp excepted).
find_package(Threads REQUIRED)
find_package(Boost 1.74 REQUIRED COMPONENTS context)
find_package(fmt REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(liburing REQUIRED IMPORTED_TARGET liburing)
