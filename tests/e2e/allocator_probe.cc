// Preloaded into a program under test: says at its end whether its memory comes from mimalloc. It asks for
// memory as any library of the process does.
#include <dlfcn.h>
#include <mimalloc.h>

#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

__attribute__((destructor)) void tell() {
  using IsInHeap = decltype(mi_is_in_heap_region);
  auto* const is_in_heap = reinterpret_cast<IsInHeap*>(dlsym(RTLD_DEFAULT, "mi_is_in_heap_region"));
  void* const from_c = std::malloc(100);
  void* const from_cpp = ::operator new(100);
  const bool all = is_in_heap != nullptr && is_in_heap(from_c) && is_in_heap(from_cpp);
  ::operator delete(from_cpp);
  std::free(from_c);
  std::fprintf(stderr, "allocator-probe: %s\n", all ? "mimalloc" : "another");
}

}  // namespace
