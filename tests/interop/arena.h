// Memory of a sidecar of this host, read where it lies.
#pragma once

#include "tests/interop/messages.h"

struct mapping {
  const uint8_t* data;  // NULL: none
  size_t data_bytes;
  int lock;  // a descriptor, -1: none
};

// `own`: the path of the file of the sidecar that told of this arena, `through`: its instance. When it is
// that one's own: NULL and 0.
bool map_arena(const struct arena* arena, const char* own, uint64_t through, struct mapping* mapping);
void unmap_arena(struct mapping* mapping);
