// From a received chunk into GPU memory. Sending from GPU memory needs no more than Tensor::on_gpu (data.h).
#pragma once

#include "sidecar/data.h"
#include "sidecar/failure.h"

namespace sidecar {
inline namespace api {

// Starts copying the bytes of `view` to `to`, CUDA device memory of any GPU that this process sees, in
// `stream` (cudaStream_t, CUstream; of that GPU; null: its default stream), and returns. The view must stay
// alive, and its chunk not be marked done, until the stream has done the copy.
//
// Views in shared memory are copied straight from there: the first call for an arena pins this process's
// mapping of it, which takes some milliseconds per GiB. Where that is not possible, and for views with bytes
// of their own, the copy is slower and may be over only when this returns; the log says so once.
//
// Any thread (Progress::kCaller: the driving one). kUnavailable: this process has no CUDA; the message says
// why. kInvalidArgument: `to` is no GPU memory or has too little room, or the view is an end of stream. kIo:
// CUDA's error.
Expected<void> copy_to_gpu(const View& view, void* to, void* stream);

}  // namespace api
}  // namespace sidecar
