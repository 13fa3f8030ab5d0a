// Operating errors are values. Error is small and allocation-free: a code, the rank it concerns, and static
// text.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

#include "core/errc.h"

namespace sidecar {

// `what` is static text (never freed); `rank` the rank it concerns or kNoRank; `a` and `b` two figures the
// text speaks of (sizes, an errno), 0 when it speaks of none.
struct [[nodiscard]] Error {
  Errc code = Errc::kInternal;
  std::int32_t rank = kNoRank;
  const char* what = "";
  std::uint64_t a = 0;
  std::uint64_t b = 0;
};

// "InvalidArgument: chunk_id is not below num_chunks (7, 5), rank 3": for logs, replies and exceptions.
std::string to_string(const Error& error);

template <class T>
using Result = tl::expected<T, Error>;
using Status = tl::expected<void, Error>;

inline tl::unexpected<Error> fail(Errc code, const char* what, std::int32_t rank = kNoRank,
                                  std::uint64_t a = 0, std::uint64_t b = 0) {
  return tl::unexpected<Error>(Error{code, rank, what, a, b});
}

}  // namespace sidecar
