// Chunks out of GPU memory, which the sidecar copies.
#include "core/cuda_driver.h"
#include "perf/gpu_copy.h"
#include "perf/samples.h"
#include "perf/tool/flow.h"
#include "perf/tool/tests.h"

namespace sidecar::perf {
namespace {

std::unique_ptr<CudaApi> cuda() {
  auto loaded = load_cuda();
  if (!loaded) fail_measurement(to_string(loaded.error()));
  return std::move(*loaded);
}

}  // namespace

// The times are until the GPU memory may be written again.
void initiate_d2h_send(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  const auto gpu = cuda();
  GpuCopy source(*gpu, job.size);
  Client client = end.connect(0, job, Progress::kThread);
  recorder.begin();
  for (std::uint64_t i = 0; i < job.count; ++i) {
    const ChunkName name = chunk_name(job.run, "-", i, job.count);
    const std::uint64_t begin = monotonic_ns();
    SendHandle sent =
        client.send_async(source.tensor(), name.id, {{job.to.at(0)}}, name.chunk, name.num_chunks);
    take(sent.captured.get(), "send");
    const std::uint64_t now = monotonic_ns();
    recorder.add(now - begin, now);
    take(sent.delivered.get(), "send");
  }
  recorder.end(monotonic_ns());
}

void respond_d2h_send(const End& end, const Job& job, const Ready& ready) {
  respond_chunk_bw(end, job, ready);
}

double plain_gpu_copy_us(std::uint64_t size) {
  const auto gpu = cuda();
  GpuCopy copy(*gpu, size);
  Samples times;
  for (int i = 0; i < 9; ++i) times.add(copy.seconds() * 1e6);
  return times.median();
}

}  // namespace sidecar::perf
