# SIDECAR_SANITIZE and SIDECAR_FUZZ apply to everything we compile; sidecar_test_environment is what a test
# process needs to report well (UCX's own signal handlers would swallow a sanitizer's report).
set(sidecar_test_environment UCX_MEM_EVENTS=n UCX_HANDLE_ERRORS=none)

if(SIDECAR_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
  list(APPEND sidecar_test_environment
       "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=1"
       UBSAN_OPTIONS=print_stacktrace=1)
elseif(SIDECAR_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
  list(APPEND sidecar_test_environment TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1)
elseif(SIDECAR_SANITIZE)
  message(FATAL_ERROR "SIDECAR_SANITIZE: '${SIDECAR_SANITIZE}' is neither address nor thread")
endif()

if(SIDECAR_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "SIDECAR_FUZZ needs clang (cmake --preset fuzz)")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
