#include "client/python/src/process.h"

#include <cxxabi.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <stdexcept>
#include <vector>

namespace sidecar::python {
namespace {

std::atomic<bool> forked{false};

// Never destroyed: the library's thread may outlive static objects.
struct Dropped {
  std::mutex mutex;
  std::vector<PyObject*> objects;
};
Dropped& dropped() {
  static auto* const all = new Dropped;
  return *all;
}

int release_pending(void*) {
  release_dropped();
  return 0;
}

}  // namespace

void watch_forks() {
  static const int watched = pthread_atfork(nullptr, nullptr, [] { forked = true; });
  static_cast<void>(watched);
}

bool is_forked() { return forked.load(std::memory_order_relaxed); }

void check_not_forked() {
  if (!is_forked()) return;
  throw std::runtime_error(
      "this process was forked from one that uses sidecar, and a client does not survive that: create it in "
      "the child, or start the child with the 'spawn' method");
}

WithoutGil::~WithoutGil() {
  try {
    PyEval_RestoreThread(thread_);
  } catch (abi::__forced_unwind&) {
    for (;;) ::pause();
  }
}

void Kept::drop() {
  PyObject* const object = std::exchange(object_, nullptr);
  if (object == nullptr) return;
  bool first;
  {
    const std::lock_guard lock(dropped().mutex);
    first = dropped().objects.empty();
    dropped().objects.push_back(object);
  }
  // The main thread does it soon. Where its list is full, the next call does.
  if (first) static_cast<void>(Py_AddPendingCall(release_pending, nullptr));
}

void release_dropped() {
  std::vector<PyObject*> objects;
  {
    const std::lock_guard lock(dropped().mutex);
    objects.swap(dropped().objects);
  }
  for (PyObject* object : objects) Py_DECREF(object);
}

}  // namespace sidecar::python
