# SPDX-License-Identifier: Apache-2.0
# weft_program(NAME SOURCE): an executable on top of weft, as a user would build one. A source that includes OpenSSL,
# itself or through Asio, is linked to it.
function(weft_program name source)
  add_executable(${name} ${source})
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wshadow)
  target_link_libraries(${name} PRIVATE weft::weft Boost::headers)
  file(STRINGS ${source} ssl_includes REGEX "#include <(openssl|boost/asio/ssl|boost/beast/ssl)" LIMIT_COUNT 1)
  if(ssl_includes)
    find_package(OpenSSL REQUIRED)
    target_link_libraries(${name} PRIVATE OpenSSL::SSL)
  endif()
endfunction()
