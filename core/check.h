// Bugs abort, always on: a broken invariant on a data path corrupts somebody's tensor sooner or later.
// Never use CHECK on bytes that came from a peer or a client: those are answered with Errc::kProtocol.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace sidecar::internal {
[[noreturn]] inline void check_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "CHECK failed: %s at %s:%d\n", expression, file, line);
  std::abort();
}
}  // namespace sidecar::internal

#define CHECK(condition)                             \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::sidecar::internal::check_failed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define DCHECK(condition) static_cast<void>(0)
#else
#define DCHECK(condition) CHECK(condition)
#endif
