# SPDX-License-Identifier: Apache-2.0
# The library itself: every source under runtime/ and netpoll/, every header under include/weft.
file(GLOB_RECURSE weft_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/runtime/*.cpp ${PROJECT_SOURCE_DIR}/netpoll/*.cpp)
file(GLOB_RECURSE weft_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/weft/*.hpp)

add_library(weft ${weft_sources})
add_library(weft::weft ALIAS weft)
target_sources(weft PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${weft_headers})
set_target_properties(weft PROPERTIES
  LINKER_LANGUAGE CXX
  # The static library may be linked into a shared object, such as a plugin.
  POSITION_INDEPENDENT_CODE ON
  VERSION ${PROJECT_VERSION}
  # Minor versions before 1.0 may break each other, as SameMinorVersion says to find_package.
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
  CXX_VISIBILITY_PRESET hidden
  VISIBILITY_INLINES_HIDDEN ON
  # Each public header must compile on its own: target all_verify_interface_header_sets.
  VERIFY_INTERFACE_HEADER_SETS ${PROJECT_IS_TOP_LEVEL})
target_compile_features(weft PUBLIC cxx_std_20)
target_include_directories(weft PRIVATE ${PROJECT_SOURCE_DIR})
# Dumps walk frame pointers and look names up in the dynamic symbol table, in the user's code too.
target_compile_options(weft PUBLIC -fno-omit-frame-pointer PRIVATE -Wall -Wextra -Wshadow -fstack-clash-protection)
target_link_options(weft INTERFACE -rdynamic)
target_link_libraries(weft PUBLIC Threads::Threads PRIVATE Boost::context fmt::fmt PkgConfig::liburing)
if(WEFT_DEBUG_CHECKS)
  target_compile_definitions(weft PRIVATE WEFT_DEBUG_CHECKS=1)
endif()
