// A fixed array of zeros that costs memory only where it has been touched.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

namespace sidecar {

template <class T>
class LazyArray {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>,
                "starts as zero bytes");

 public:
  // Throws std::bad_alloc when the address space is limited: make these before the loop starts.
  explicit LazyArray(std::size_t size) : bytes_(size * sizeof(T)) {
    void* const p =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<T*>(p);
  }
  ~LazyArray() { ::munmap(data_, bytes_); }
  LazyArray(const LazyArray&) = delete;
  LazyArray& operator=(const LazyArray&) = delete;

  [[nodiscard]] T* data() { return data_; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }

  // Whole pages within [first, first + count) go back to the system and read as zeros again. Elements on the
  // pages at either end keep their values.
  void forget(std::size_t first, std::size_t count) {
    constexpr std::uintptr_t kPage = 4096;  // a larger system page makes the call fail, which is harmless
    const auto begin = (reinterpret_cast<std::uintptr_t>(data_ + first) + kPage - 1) & ~(kPage - 1);
    const auto end = reinterpret_cast<std::uintptr_t>(data_ + first + count) & ~(kPage - 1);
    if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }

 private:
  std::size_t bytes_;
  T* data_ = nullptr;
};

}  // namespace sidecar
