#include "perf/gpu_copy.h"

#include "perf/bench.h"
#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

template <class T>
T take(Result<T> result, const char* what) {
  if (!result) give_up(std::string("no ") + what + ": " + to_string(result.error()));
  return *result;
}
void check(const Status& status) {
  if (!status) give_up(to_string(status.error()));
}

}  // namespace

GpuCopy::GpuCopy(CudaApi& cuda, std::uint64_t bytes) : cuda_(cuda), bytes_(bytes) {
  from_ = take(cuda.allocate(0, bytes), "GPU memory");
  to_ = take(cuda.allocate_host(0, bytes), "pinned memory");
  stream_ = take(cuda.create_stream(0), "a stream");
  check(cuda.fill(0, from_, 7, bytes, stream_));
  check(cuda.synchronize(0, stream_));
}

GpuCopy::~GpuCopy() {
  (void)cuda_.destroy_stream(0, stream_);
  (void)cuda_.free_host(0, to_);
  (void)cuda_.free(0, from_);
}

double GpuCopy::seconds() {
  const std::uint64_t begin = monotonic_ns();
  check(cuda_.copy_to_host(0, to_, from_, bytes_, stream_));
  check(cuda_.synchronize(0, stream_));
  return static_cast<double>(monotonic_ns() - begin) / 1e9;
}

Tensor GpuCopy::tensor() const {
  Tensor tensor{reinterpret_cast<const void*>(from_), Dtype::kU8, {bytes_}};
  tensor.on_gpu = true;
  tensor.stream = reinterpret_cast<void*>(stream_);
  return tensor;
}

}  // namespace sidecar::perf
