# What `make install` puts where: the two programs that ship, libsidecar as a shared and as a static library, its public
# headers, and what CMake and pkg-config find it by. The whole may be moved afterwards.
if(NOT (TARGET sidecard AND TARGET sidecar_shared))
  return()  # SIDECAR_FOLDERS left it out
endif()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/sidecar)
set(generated ${CMAKE_BINARY_DIR}/package)

# `cmake --install` builds nothing; this does.
add_custom_target(installed)
add_dependencies(installed sidecard sidecarctl sidecar_shared sidecar_static)

# No path of the build, but those of libraries that were found outside the system's folders: a UCX of one's own.
set_target_properties(sidecard sidecarctl sidecar_shared PROPERTIES INSTALL_RPATH_USE_LINK_PATH TRUE)

install(TARGETS sidecard sidecarctl RUNTIME)
install(TARGETS sidecar_shared EXPORT sidecar-shared)
install(TARGETS sidecar_static EXPORT sidecar-static)
set_target_properties(sidecar_shared PROPERTIES EXPORT_NAME client)
set_target_properties(sidecar_static PROPERTIES EXPORT_NAME client_static)
target_include_directories(sidecar_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_include_directories(sidecar_static INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

# The two headers from core go below sidecar/: "core/errc.h" is looked for beside the file that includes it first, so no
# folder `core` in a user's own path comes before it, and there is none of ours in theirs.
foreach(header client data failure future gpu options)
  install(FILES client/include/sidecar/${header}.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sidecar)
endforeach()
install(FILES core/dtype.h core/errc.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sidecar/core)

# Two sets of targets, since only the static library makes its users look for third parties.
foreach(kind shared static)
  install(EXPORT sidecar-${kind} NAMESPACE sidecar:: FILE sidecar-${kind}.cmake DESTINATION ${package_folder})
endforeach()
configure_package_config_file(cmake/package/sidecar-config.cmake.in ${generated}/sidecar-config.cmake
  INSTALL_DESTINATION ${package_folder} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${generated}/sidecar-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${generated}/sidecar-config.cmake ${generated}/sidecar-config-version.cmake DESTINATION ${package_folder})

# What the static library needs, in pkg-config's words. gRPC's list differs from version to version.
pkg_check_modules(grpcpp QUIET grpc++)
if(NOT grpcpp_FOUND)
  set(grpcpp_LDFLAGS -lgrpc++ -lgrpc -lgpr)
endif()
set(private_libs ${ucx_LDFLAGS} ${libuv_LDFLAGS} ${numa_LDFLAGS} ${grpcpp_LDFLAGS} -lprotobuf -lspdlog -lfmt -lcrypto)
list(REMOVE_DUPLICATES private_libs)
foreach(folder IN LISTS CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES)
  list(REMOVE_ITEM private_libs -L${folder})
endforeach()
list(JOIN private_libs " " private_libs)
string(REGEX REPLACE "[^/]+" ".." up ${CMAKE_INSTALL_LIBDIR}/pkgconfig)  # from there to the prefix
configure_file(cmake/package/sidecar.pc.in ${generated}/sidecar.pc @ONLY)
install(FILES ${generated}/sidecar.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
