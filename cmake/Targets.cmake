# The few kinds of target there are. Every source list is explicit.

# sidecar_library(NAME SOURCES ... LIBS ...): a static library; includes are relative to the project's root.
function(sidecar_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
  add_library(${name} STATIC ${arg_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${arg_LIBS})
endfunction()

# Everything in build/bin, without the tests: what `make build` makes.
add_custom_target(programs)

# sidecar_program(NAME SOURCES ... LIBS ...): a shipped program in build/bin, running on mimalloc.
function(sidecar_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_LIBS})
  sidecar_use_mimalloc(${name})
  add_dependencies(programs ${name})
endfunction()

# The override works only when the library is linked although nothing refers to it. As one linker item,
# because CMake removes repeated flags and would tear the push and pop apart.
function(sidecar_use_mimalloc name)
  if(SIDECAR_MIMALLOC AND NOT SIDECAR_SANITIZE)
    target_include_directories(${name} PRIVATE $<TARGET_PROPERTY:mimalloc,INTERFACE_INCLUDE_DIRECTORIES>)
    target_link_options(
      ${name} PRIVATE "LINKER:--push-state,--no-as-needed,$<TARGET_FILE:mimalloc>,--pop-state")
    target_compile_definitions(${name} PRIVATE SIDECAR_ON_MIMALLOC=1)
  endif()
endfunction()

# sidecar_generated(FILE...): sources that a compiler wrote; our warnings are not meant for them.
function(sidecar_generated)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "-w" SKIP_LINTING ON)
endfunction()
