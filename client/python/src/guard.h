// For debug=True: memory that a chunk had and that nobody may look at any more. Who does is told, on standard
// error, what it was and ends with SIGSEGV, instead of reading what lies there by then.
#pragma once

#include <cstddef>
#include <string>

namespace sidecar::python {

// Pages of their own, readable and writable. Throws std::bad_alloc.
std::byte* guarded_pages(std::size_t bytes);
// Out of bounds from now on; `what` is said to who touches them.
void forbid_pages(std::byte* pages, std::size_t bytes, const std::string& what);
void free_pages(std::byte* pages, std::size_t bytes);

}  // namespace sidecar::python
