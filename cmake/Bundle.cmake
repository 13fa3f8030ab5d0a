# What `make bundle` needs of the build; bundle.py does the rest.

# A program finds its libraries in ../lib, where a bundle has them; in a build there is no such folder. The old kind
# of tag (DT_RPATH) holds for what the libraries need and load in their turn as well.
set(CMAKE_BUILD_RPATH "$ORIGIN/../lib")
add_link_options("LINKER:--disable-new-dtags")

# One line for each test program: label, seconds that a test may take, name, environment.
function(sidecar_list_test name label timeout)
  string(REPLACE ";" " " environment "${ARGN}")
  set_property(GLOBAL APPEND_STRING PROPERTY sidecar_test_list "${label} ${timeout} ${name} ${environment}\n")
endfunction()
function(sidecar_write_test_list)
  get_property(list GLOBAL PROPERTY sidecar_test_list)
  file(WRITE ${CMAKE_BINARY_DIR}/test_programs.txt "${list}")
endfunction()
