// The only door between threads. Any thread posts a function; the loop's thread runs it. An answer goes back
// through whatever the function captured (a promise).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "core/loop.h"

namespace sidecar {

class Mailbox {
 public:
  static constexpr std::size_t kCapacity = 65536;
  static constexpr std::size_t kDrainLimit = 64;  // functions run between two steps of the loop

  explicit Mailbox(Loop* loop, std::size_t capacity = kCapacity, std::size_t drain_limit = kDrainLimit);
  // As close(). Nobody may post any more.
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // Thread-safe. False: full or closed, and the function was not taken. Functions run in the order posted by
  // their thread and must not throw.
  [[nodiscard]] bool post(std::function<void()> function);

  // On the loop's thread. From now on post() returns false; what was not run yet is destroyed here, without
  // running.
  void close();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sidecar
