#include "client/python/src/completions.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <stdexcept>

namespace sidecar::python {

Completions::Completions() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!fd_.valid()) throw std::runtime_error("no descriptor is left for an event loop (ulimit -n)");
}

void Completions::push(std::uint64_t token) {
  const std::lock_guard lock(mutex_);
  tokens_.push_back(token);
  if (tokens_.size() > 1) return;  // it was told already
  const std::uint64_t one = 1;
  static_cast<void>(::write(fd_.get(), &one, sizeof(one)));  // fails only when it is readable anyway
}

std::vector<std::uint64_t> Completions::take() {
  const std::lock_guard lock(mutex_);
  std::uint64_t count = 0;
  static_cast<void>(::read(fd_.get(), &count, sizeof(count)));
  return std::exchange(tokens_, {});
}

}  // namespace sidecar::python
