// What copy_to_gpu() does, with any CUDA.
#pragma once

#include "client/gpus.h"
#include "sidecar/data.h"

namespace sidecar::client_internal {

Expected<void> copy_view(Gpus& gpus, const View& view, void* to, void* stream);

}  // namespace sidecar::client_internal
