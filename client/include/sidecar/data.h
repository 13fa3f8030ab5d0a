// What a client sends and receives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sidecar/failure.h"

namespace sidecar {
inline namespace api {

// Ranks that serve one executor; the smallest is the leader and gets the data.
using Group = std::vector<Rank>;
using Groups = std::vector<Group>;

// A tensor in the caller's memory, the CPU's or a GPU's. Not contiguous: it is packed into a private copy
// once, with a warning on the log.
//
// on_gpu: the sidecar copies the bytes from the GPU by itself, after what `stream` holds when send is called;
// the call does not wait for either. The memory stays allocated and untouched until `captured`, which comes
// after that copy. Where the sidecar cannot (memory without a CUDA IPC handle such as managed, pooled or
// virtual memory; a GPU, CUDA or a node that the sidecar does not share with us; a strided tensor), the call
// copies: it then waits for the stream, for room in the sidecar's arena at most as long as its deadline says,
// and for the copy. The first time, the log says why.
struct Tensor {
  const void* data = nullptr;
  Dtype dtype = Dtype::kU8;
  std::vector<std::uint64_t> shape{};   // empty: a scalar
  std::vector<std::int64_t> strides{};  // in elements; empty: contiguous in C order
  bool on_gpu = false;                  // `data` is CUDA device memory of any GPU that this process sees
  void* stream = nullptr;  // on_gpu: the CUDA stream (cudaStream_t, CUstream) of that GPU whose work so far
                           // writes the bytes; null: the default stream
};

// Opaque bytes. `codec` tells the receiver what they are; the service never looks at either.
struct Object {
  const void* data = nullptr;
  std::size_t bytes = 0;
  std::uint32_t codec = 0;
};

// A received chunk, or the end of its datum. Copies share one handle on the memory, which stays mapped and
// stays ours until the last copy is gone or until this client calls mark_done, whichever comes first: after
// mark_done the bytes must not be looked at any more. Copying and destroying is allowed on any thread
// (Progress::kCaller: on the driving thread only). Views that are alive keep the connection alive, also after
// Client::close().
class View {
 public:
  // The chunk asked for is at or past the end of the datum: there is nothing here but num_chunks().
  [[nodiscard]] bool end_of_stream() const { return content_ == nullptr || content_->end; }

  [[nodiscard]] const std::byte* data() const { return content_->data; }
  [[nodiscard]] std::uint64_t size_bytes() const { return content_->bytes; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return {content_->data, content_->bytes}; }
  // Null unless ClientOptions::writable_views was set. Other processes may be reading the same bytes.
  [[nodiscard]] std::byte* writable_data() const { return content_->writable; }

  [[nodiscard]] bool is_object() const { return content_->object; }
  [[nodiscard]] Dtype dtype() const { return content_->dtype; }                              // tensors
  [[nodiscard]] const std::vector<std::uint64_t>& shape() const { return content_->shape; }  // tensors
  [[nodiscard]] std::uint32_t codec() const { return content_->codec; }                      // objects

  [[nodiscard]] ChunkIndex chunk() const { return content_->chunk; }
  // 0 while the length of a stream is unknown.
  [[nodiscard]] ChunkIndex num_chunks() const { return content_ == nullptr ? 0 : content_->num_chunks; }
  // The bytes lie in memory shared with the sidecar: nothing was copied to get them here.
  [[nodiscard]] bool is_shared() const { return content_->shared; }

  struct Content {
    const std::byte* data = nullptr;
    std::byte* writable = nullptr;
    std::uint64_t bytes = 0;
    bool end = false;
    bool object = false;
    bool shared = false;
    Dtype dtype = Dtype::kU8;
    std::uint32_t codec = 0;
    ChunkIndex chunk = 0;
    ChunkIndex num_chunks = 0;
    std::vector<std::uint64_t> shape{};
    Content() = default;
    Content(const Content&) = delete;
    Content& operator=(const Content&) = delete;
    virtual ~Content() = default;
  };
  View() = default;
  explicit View(std::shared_ptr<const Content> content) : content_(std::move(content)) {}
  [[nodiscard]] const std::shared_ptr<const Content>& content() const { return content_; }

 private:
  std::shared_ptr<const Content> content_;
};

// Memory for one tensor to send, inside the sidecar's own arena, so that sending it copies nothing (private
// memory where the arena cannot be mapped: sending then copies once). Given back when destroyed unsent. Not
// to be written after send.
class Buffer {
 public:
  [[nodiscard]] bool valid() const { return content_ != nullptr; }
  [[nodiscard]] std::byte* data() const { return content_->data; }
  template <class T>
  [[nodiscard]] std::span<T> as() const {
    return {reinterpret_cast<T*>(content_->data), content_->bytes / sizeof(T)};
  }
  [[nodiscard]] std::uint64_t size_bytes() const { return content_->bytes; }
  [[nodiscard]] Dtype dtype() const { return content_->dtype; }
  [[nodiscard]] const std::vector<std::uint64_t>& shape() const { return content_->shape; }
  // False: private memory, see above.
  [[nodiscard]] bool in_arena() const { return content_->in_arena; }

  struct Content {
    std::byte* data = nullptr;
    std::uint64_t bytes = 0;
    bool in_arena = false;
    Dtype dtype = Dtype::kU8;
    std::vector<std::uint64_t> shape{};
    Content() = default;
    Content(const Content&) = delete;
    Content& operator=(const Content&) = delete;
    virtual ~Content() = default;
  };
  Buffer() = default;
  explicit Buffer(std::shared_ptr<Content> content) : content_(std::move(content)) {}
  Buffer(Buffer&&) = default;
  Buffer& operator=(Buffer&&) = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  [[nodiscard]] const std::shared_ptr<Content>& content() const { return content_; }

 private:
  std::shared_ptr<Content> content_;
};

}  // namespace api
}  // namespace sidecar
