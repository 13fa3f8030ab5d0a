// Errors as bounded text for the wire, without allocating.
#pragma once

#include <cinttypes>
#include <cstdio>

#include "core/types.h"

namespace sidecar {

// "chunk_id: not below num_chunks (7, 5)": the code and the rank travel in fields of their own.
inline Text error_text(const Error& error) {
  char buffer[kTextBytesMax + 1];
  int length;
  if (error.b != 0) {
    length =
        std::snprintf(buffer, sizeof buffer, "%s (%" PRIu64 ", %" PRIu64 ")", error.what, error.a, error.b);
  } else if (error.a != 0) {
    length = std::snprintf(buffer, sizeof buffer, "%s (%" PRIu64 ")", error.what, error.a);
  } else {
    return Text(error.what);
  }
  return Text({buffer, std::min(static_cast<std::size_t>(length), kTextBytesMax)});
}

}  // namespace sidecar
