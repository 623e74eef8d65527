# SPDX-License-Identifier: Apache-2.0
# find_package(weft CONFIG) and pkg-config weft. Both files stay right when the prefix is moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(weft_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weft)

install(TARGETS weft EXPORT weft-targets FILE_SET HEADERS)
install(EXPORT weft-targets NAMESPACE weft:: DESTINATION ${weft_package_dir})
configure_package_config_file(cmake/weft-config.cmake.in weft-config.cmake INSTALL_DESTINATION ${weft_package_dir})
write_basic_package_version_file(weft-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/weft-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/weft-config-version.cmake
  DESTINATION ${weft_package_dir})

# A static libweft.a names what it needs; libweft.so carries its own list.
if(BUILD_SHARED_LIBS)
  set(weft_pc_requires "")
  set(weft_pc_libs "")
else()
  install(FILES cmake/weft_dependencies.cmake DESTINATION ${weft_package_dir})
  set(weft_pc_requires "fmt liburing")
  set(weft_pc_libs "-lboost_context -pthread")
endif()
file(RELATIVE_PATH weft_pc_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file(cmake/weft.pc.in weft.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/weft.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
