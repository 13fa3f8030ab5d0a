// Received chunks and memory to send from, as Python sees them: bytes through the buffer protocol, tensors
// through DLPack. Whatever looks at the memory keeps the object alive, and with it the view.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <optional>
#include <string>

#include "sidecar/client.h"

namespace sidecar::python {

using AnyArray = nanobind::ndarray<nanobind::device::cpu>;
using GivenArray = nanobind::ndarray<nanobind::ro>;

class Chunk {
 public:
  // `guarded`: see guard.h; the bytes are a private copy then.
  Chunk(View view, bool guarded);
  ~Chunk();
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  [[nodiscard]] const View& view() const { return view_; }
  [[nodiscard]] const std::byte* data() const { return guarded_ != nullptr ? guarded_ : view_.data(); }
  [[nodiscard]] bool read_only() const { return guarded_ == nullptr && view_.writable_data() == nullptr; }
  // DLPack knows no memory that may not be written, so the array seems writable; see Sidecar in Python.
  // `as_ints`: of as many bytes each, for readers that do not know the type.
  [[nodiscard]] AnyArray array(nanobind::handle self, bool as_ints) const;
  // Its own mark_done: a guarded chunk's memory is out of bounds from now on.
  void forbid(const std::string& what);

 private:
  View view_;
  std::byte* guarded_ = nullptr;
};

class Memory {
 public:
  explicit Memory(Buffer buffer) : buffer_(std::move(buffer)), content_(buffer_.content()) {}
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // False once it was sent or given back.
  [[nodiscard]] bool valid() const { return buffer_.valid(); }
  [[nodiscard]] const Buffer::Content& content() const { return *content_; }
  [[nodiscard]] AnyArray array(nanobind::handle self, bool as_ints) const;
  Buffer& buffer() { return buffer_; }
  void give_back() { buffer_ = Buffer(); }

 private:
  Buffer buffer_;
  // Arrays of it stay readable after it was sent.
  std::shared_ptr<Buffer::Content> content_;
};

// Null: DLPack has no such type, or none that we can send.
std::optional<Dtype> dtype_of(nanobind::dlpack::dtype dtype);

void bind_data(nanobind::module_& module);

}  // namespace sidecar::python
