// RAII for libuv handles. libuv needs a handle's memory until its close callback has run, which is after the
// owner is gone: the handle therefore lies in a cell of its own that the close callback deletes. Once closing
// has begun `data` is nullptr, and no callback but the close callback runs.
#pragma once

#include <uv.h>

#include <utility>

#include "core/check.h"

namespace sidecar {

template <class T>
class UvHandle {
 public:
  UvHandle() = default;
  UvHandle(UvHandle&& other) noexcept : cell_(std::exchange(other.cell_, nullptr)) {}
  UvHandle& operator=(UvHandle&& other) noexcept {
    if (this != &other) {
      close();
      cell_ = std::exchange(other.cell_, nullptr);
    }
    return *this;
  }
  ~UvHandle() { close(); }

  // `init` is one of uv_*_init with its arguments bound; `owner` is what callbacks find in data. Returns uv's
  // code; on failure the handle stays empty.
  template <class Init>
  [[nodiscard]] int open(void* owner, Init&& init) {
    CHECK(cell_ == nullptr);
    auto* cell = new T;
    cell->data = owner;
    const int code = init(cell);
    if (code == 0) {
      cell_ = cell;
    } else {
      delete cell;
    }
    return code;
  }

  void close() noexcept {
    if (cell_ == nullptr) return;
    T* cell = std::exchange(cell_, nullptr);
    cell->data = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(cell), [](uv_handle_t* h) { delete reinterpret_cast<T*>(h); });
  }

  [[nodiscard]] T* get() const { return cell_; }
  explicit operator bool() const { return cell_ != nullptr; }

 private:
  T* cell_ = nullptr;
};

}  // namespace sidecar
