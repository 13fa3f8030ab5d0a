#include "client/python/src/guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>

namespace sidecar::python {
namespace {

constexpr std::size_t kPage = 4096;

std::size_t whole_pages(std::size_t bytes) { return (bytes + kPage) / kPage * kPage; }  // one at least

// Read by the signal's handler: fixed places, written whole before `begin` is.
struct Forbidden {
  std::atomic<std::uintptr_t> begin{0};
  std::uintptr_t end = 0;
  std::array<char, 384> text{};
};
std::array<Forbidden, 1024> forbidden;
std::mutex mutex;  // for those who write
struct sigaction before;

void say(const char* text) { static_cast<void>(::write(STDERR_FILENO, text, std::strlen(text))); }

void on_fault(int number, siginfo_t* info, void* context) {
  const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (const Forbidden& place : forbidden) {
    const std::uintptr_t begin = place.begin.load(std::memory_order_acquire);
    if (begin == 0 || at < begin || at >= place.end) continue;
    say("sidecar: ");
    say(place.text.data());
    say(" was used after this process had marked it done\n");
    break;
  }
  if ((before.sa_flags & SA_SIGINFO) != 0) return before.sa_sigaction(number, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(number);
  ::signal(SIGSEGV, SIG_DFL);  // the access is made again, and ends the process
}

void handle_faults() {
  struct sigaction action{};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  ::sigaction(SIGSEGV, &action, &before);
}

}  // namespace

std::byte* guarded_pages(std::size_t bytes) {
  void* const pages =
      ::mmap(nullptr, whole_pages(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(pages);
}

void forbid_pages(std::byte* pages, std::size_t bytes, const std::string& what) {
  const std::lock_guard lock(mutex);
  static const bool handled = (handle_faults(), true);
  static_cast<void>(handled);
  for (Forbidden& place : forbidden) {
    if (place.begin.load(std::memory_order_relaxed) != 0) continue;
    place.end = reinterpret_cast<std::uintptr_t>(pages) + whole_pages(bytes);
    place.text.fill('\0');
    what.copy(place.text.data(), place.text.size() - 1);
    place.begin.store(reinterpret_cast<std::uintptr_t>(pages), std::memory_order_release);
    break;  // with no place left it fails without our words
  }
  ::mprotect(pages, whole_pages(bytes), PROT_NONE);
}

void free_pages(std::byte* pages, std::size_t bytes) {
  const std::lock_guard lock(mutex);
  for (Forbidden& place : forbidden) {
    if (place.begin.load(std::memory_order_relaxed) == reinterpret_cast<std::uintptr_t>(pages))
      place.begin.store(0, std::memory_order_release);
  }
  ::munmap(pages, whole_pages(bytes));
}

}  // namespace sidecar::python
