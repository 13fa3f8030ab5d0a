// Preloaded into a program under test: counts what the thread that drives UCX, which is the loop's, takes
// from the heap. The file ALLOCATION_GUARD.<pid> holds the counts.
#include "tests/e2e/allocation_guard.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

using sidecar::e2e::AllocationCounts;

namespace {

AllocationCounts* counts = nullptr;
[[gnu::tls_model("initial-exec")]] thread_local bool is_loop = false;
[[gnu::tls_model("initial-exec")]] thread_local bool busy = false;  // telling, or inside operator new

__attribute__((constructor)) void open_counts() {
  const char* const name = std::getenv("ALLOCATION_GUARD");
  if (name == nullptr) return;
  const std::string path = name + ("." + std::to_string(getpid()));
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(AllocationCounts)) != 0) return;
  void* const page = mmap(nullptr, sizeof(AllocationCounts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (page != MAP_FAILED) counts = static_cast<AllocationCounts*>(page);
  close(fd);
}

void tell(const char* how) {
  if (counts->watching == 0 || counts->told >= 8) return;
  ++counts->told;
  void* frames[24];
  const int depth = backtrace(frames, 24);
  std::fprintf(stderr, "allocation-guard: %s on the loop's thread\n", how);
  backtrace_symbols_fd(frames, depth, STDERR_FILENO);
}

void count(std::atomic<std::uint64_t> AllocationCounts::* kind, const char* how) {
  if (counts == nullptr || busy) return;
  busy = true;
  ++(counts->*(is_loop ? kind : &AllocationCounts::elsewhere));
  if (is_loop) tell(how);
  busy = false;
}

void count_malloc(const void* caller, const char* how) {
  if (counts == nullptr || busy) return;
  Dl_info from{};
  const bool ucx = dladdr(caller, &from) != 0 && std::strstr(from.dli_fname, "/libuc") != nullptr;
  if (ucx && is_loop)
    ++counts->by_ucx;  // it puts together in memory of its own what comes in several pieces
  else
    count(&AllocationCounts::by_malloc, how);
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

void* take(std::size_t bytes, std::size_t alignment) {
  count(&AllocationCounts::by_new, "new");
  const bool before = busy;
  busy = true;  // counted already
  void* memory = nullptr;
  if (alignment <= alignof(std::max_align_t))
    memory = std::malloc(bytes == 0 ? 1 : bytes);
  else if (posix_memalign(&memory, alignment, bytes) != 0)
    memory = nullptr;
  busy = before;
  return memory;
}
void* take_or_throw(std::size_t bytes, std::size_t alignment = 0) {
  if (void* const memory = take(bytes, alignment)) return memory;
  throw std::bad_alloc();
}

}  // namespace

extern "C" unsigned ucp_worker_progress(ucp_worker_h worker) {
  static auto* const function = next<decltype(ucp_worker_progress)>("ucp_worker_progress");
  is_loop = true;
  if (counts != nullptr) ++counts->steps;
  return function(worker);
}

extern "C" void* malloc(std::size_t bytes) {
  static auto* const function = next<void*(std::size_t)>("malloc");
  count_malloc(__builtin_return_address(0), "malloc");
  return function(bytes);
}
extern "C" void* calloc(std::size_t number, std::size_t bytes) {
  static auto* const function = next<void*(std::size_t, std::size_t)>("calloc");
  count_malloc(__builtin_return_address(0), "calloc");
  return function(number, bytes);
}
extern "C" void* realloc(void* memory, std::size_t bytes) {
  static auto* const function = next<void*(void*, std::size_t)>("realloc");
  count_malloc(__builtin_return_address(0), "realloc");
  return function(memory, bytes);
}

void* operator new(std::size_t bytes) { return take_or_throw(bytes); }
void* operator new[](std::size_t bytes) { return take_or_throw(bytes); }
void* operator new(std::size_t bytes, std::align_val_t a) {
  return take_or_throw(bytes, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t bytes, std::align_val_t a) {
  return take_or_throw(bytes, static_cast<std::size_t>(a));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return take(bytes, 0); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return take(bytes, 0); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
