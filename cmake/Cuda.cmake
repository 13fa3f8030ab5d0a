# CUDA's headers, for core/cuda_driver.cc alone. Only its types are used and nothing is linked: the driver is
# looked for when the program runs. AUTO takes them where they are, ON insists, OFF builds without.
set(SIDECAR_CUDA AUTO CACHE STRING "Copies from GPUs: AUTO, ON or OFF (headers needed, no GPU)")
set_property(CACHE SIDECAR_CUDA PROPERTY STRINGS AUTO ON OFF)

set(SIDECAR_CUDA_INCLUDE "")
if(NOT SIDECAR_CUDA STREQUAL "OFF")
  find_path(SIDECAR_CUDA_HEADERS cuda.h
    HINTS ENV CUDA_HOME ENV CUDA_PATH ENV CUDA_ROOT /usr/local/cuda /opt/cuda PATH_SUFFIXES include)
  if(SIDECAR_CUDA_HEADERS)
    set(SIDECAR_CUDA_INCLUDE ${SIDECAR_CUDA_HEADERS})
  elseif(SIDECAR_CUDA STREQUAL "ON")
    message(FATAL_ERROR "SIDECAR_CUDA is ON, but there is no cuda.h: set CUDA_HOME")
  endif()
endif()
if(SIDECAR_CUDA_INCLUDE)
  message(STATUS "GPUs: yes (${SIDECAR_CUDA_INCLUDE})")
else()
  message(STATUS "GPUs: no (SIDECAR_CUDA=${SIDECAR_CUDA})")
endif()
