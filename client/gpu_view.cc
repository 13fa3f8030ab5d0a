#include "client/gpu_view.h"

#include "client/arguments.h"
#include "client/op.h"
#include "sidecar/gpu.h"

namespace sidecar {
namespace client_internal {

Expected<void> copy_view(Gpus& gpus, const View& view, void* to, void* stream) {
  const Result<CudaPointer> at = gpus.find(to, view.size_bytes());
  if (!at) {
    Failure failure = failure_of(at.error());
    failure.message = "to: " + failure.message;
    return failure;
  }
  const auto* const shared = dynamic_cast<const SharedContent*>(view.content().get());
  if (shared != nullptr && shared->pin != nullptr) shared->pin->for_gpus(gpus.cuda(), at->device);
  const Status copying = gpus.cuda().copy_to_device(at->device, address_of(to), view.data(),
                                                    view.size_bytes(), stream_of(stream));
  if (!copying) return failure_of(copying.error());
  return {};
}

}  // namespace client_internal

inline namespace api {

Expected<void> copy_to_gpu(const View& view, void* to, void* stream) {
  if (view.end_of_stream()) return Failure{Errc::kInvalidArgument, kNoRank, "view: an end of stream"};
  if (view.size_bytes() == 0) return {};
  const Result<client_internal::Gpus*> gpus = client_internal::Gpus::of_process();
  if (!gpus) return client_internal::failure_of(gpus.error());
  return client_internal::copy_view(**gpus, view, to, stream);
}

}  // namespace api
}  // namespace sidecar
