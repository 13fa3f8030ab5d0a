#include "client/gpu_parcel.h"

#include <algorithm>
#include <atomic>
#include <string>

#include "client/arguments.h"
#include "client/pack.h"
#include "core/log.h"

namespace sidecar::client_internal {
namespace {

void say_once(const std::string& why) {
  static std::atomic<bool> said = false;
  if (!said.exchange(true)) LOG_WARN("GPU memory is copied by this process, not by the sidecar: {}", why);
}

// Empty: the sidecar can copy by itself.
std::string obstacle(const Gpus& gpus, const CudaPointer& at, const GpuRoute& route) {
  if (!route.same_node) return "the sidecar is on another node";
  if (route.version < kGroupsVersion) return "the sidecar is older than this client";
  if (route.gpus.empty()) return "the sidecar has no GPU";
  if (std::ranges::find(route.gpus, gpus.uuid(at.device)) == route.gpus.end()) {
    return "the sidecar does not have GPU " + std::to_string(at.device);
  }
  if (!at.exportable) return "the memory has no CUDA IPC handle (managed, pooled or virtual memory)";
  return "";
}

Failure failure_at(const Error& error) {
  Failure failure = failure_of(error);
  failure.message = "data: " + failure.message;
  return failure;
}

// The elements' range, in elements from element 0, 0, ….
struct Span {
  std::int64_t first = 0;
  std::int64_t last = 0;
};

Result<Span> span_of(const Tensor& tensor) {
  const auto too_far = fail(Errc::kInvalidArgument, "strides: reach further than memory does");
  Span span;
  for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
    std::int64_t reach = 0;
    std::int64_t& end = tensor.strides[d] < 0 ? span.first : span.last;
    if (__builtin_mul_overflow(tensor.shape[d] - 1, tensor.strides[d], &reach)) return too_far;
    if (__builtin_add_overflow(end, reach, &end)) return too_far;
  }
  constexpr std::int64_t kFar = std::int64_t{1} << 56;
  if (span.first < -kFar || span.last > kFar) return too_far;
  return span;
}

// Copies all that the strides span and packs it here: a copy of each row by itself would take longer.
Expected<Parcel> packed(Gpus& gpus, const Tensor& tensor, std::uint64_t bytes) {
  const Result<Span> span = span_of(tensor);
  if (!span) return failure_of(span.error());
  LOG_WARN_LIMITED("a tensor that is not contiguous is copied before it is sent ({} bytes)", bytes);
  const auto element = static_cast<std::int64_t>(dtype_bytes(tensor.dtype));
  const auto spanned = static_cast<std::uint64_t>((span->last - span->first + 1) * element);
  const auto* const from = static_cast<const std::byte*>(tensor.data) + span->first * element;
  const Result<CudaPointer> at = gpus.find(from, spanned);
  if (!at) return failure_at(at.error());
  const PrivateBytes raw(spanned);
  const Status copied = gpus.copy_to_host(at->device, raw.data(), from, spanned, stream_of(tensor.stream));
  if (!copied) return failure_at(copied.error());
  auto owner = std::make_shared<PrivateBytes>(bytes);
  pack(raw.data() - span->first * element, static_cast<std::size_t>(element), tensor.shape, tensor.strides,
       owner->data());
  Parcel parcel;
  parcel.bytes = {owner->data(), bytes};
  parcel.owner = std::move(owner);
  return parcel;
}

// Into the arena if that is mapped here, so that the sidecar copies nothing more.
Expected<Parcel> copied(Gpus& gpus, int device, const std::byte* from, std::uint64_t bytes, CudaStream stream,
                        bool sliced, const GpuRoute& route) {
  if (sliced || !route.allocate) {  // a slice goes to the middle of somebody else's memory
    auto owner = std::make_shared<PrivateBytes>(bytes);
    const Status status = gpus.copy_to_host(device, owner->data(), from, bytes, stream);
    if (!status) return failure_at(status.error());
    Parcel parcel;
    parcel.bytes = {owner->data(), bytes};
    parcel.owner = std::move(owner);
    return parcel;
  }
  Expected<Buffer> buffer = route.allocate(bytes);
  if (!buffer) return buffer.error();
  if (const auto* const slot = dynamic_cast<SlotContent*>(buffer->content().get()); slot != nullptr) {
    if (slot->pin != nullptr) slot->pin->for_gpus(gpus.cuda(), device);
  }
  const Status status = gpus.copy_to_host(device, buffer->data(), from, bytes, stream);
  if (!status) return failure_at(status.error());
  return parcel_of(std::move(*buffer), *route.own, Place{});
}

// This call's bytes; there are some.
Expected<Parcel> bytes_of(const Tensor& tensor, std::uint64_t bytes, const Share& share,
                          const GpuRoute& route) {
  if (tensor.data == nullptr) return Failure{Errc::kInvalidArgument, kNoRank, "data: null"};
  const bool strided = !tensor.strides.empty();
  if (strided && tensor.strides.size() != tensor.shape.size()) {
    return Failure{Errc::kInvalidArgument, kNoRank, "strides: not as many as dimensions"};
  }
  const Result<Gpus*> loaded = route.load();
  if (!loaded) {
    return Failure{Errc::kUnavailable, kNoRank, "on_gpu: " + failure_of(loaded.error()).message};
  }
  Gpus& gpus = **loaded;
  if (strided && !is_contiguous(tensor.shape, tensor.strides)) {
    Expected<Parcel> all = packed(gpus, tensor, bytes);
    if (all) all->bytes = all->bytes.subspan(share.slice.begin, share.slice.bytes);
    return all;
  }
  const auto* const from = static_cast<const std::byte*>(tensor.data) + share.slice.begin;
  const Result<CudaPointer> at = gpus.find(from, share.slice.bytes);
  if (!at) return failure_at(at.error());
  const CudaStream stream = stream_of(tensor.stream);
  std::string why = obstacle(gpus, *at, route);
  if (why.empty()) {
    Result<Gpus::Exported> exported = gpus.export_bytes(*at, from, stream);
    if (exported) {
      Parcel parcel;
      parcel.source = Source::kDevice;
      parcel.device = exported->source;
      parcel.owner = std::move(exported->event);
      return parcel;
    }
    why = failure_of(exported.error()).message;
  }
  say_once(why);
  return copied(gpus, at->device, from, share.slice.bytes, stream, share.sliced, route);
}

}  // namespace

Expected<Parcel> gpu_parcel_of(const Tensor& tensor, std::uint64_t bytes, const Place& place,
                               const GpuRoute& route) {
  const Share share = share_of(bytes, place);
  if (share.nothing) return Parcel{.source = Source::kNothing};
  if (bytes == 0) return Parcel{.source = Source::kInline};
  Expected<Parcel> parcel =
      share.slice.bytes == 0 ? Expected<Parcel>(Parcel{}) : bytes_of(tensor, bytes, share, route);
  if (parcel) mark(*parcel, share, place);
  return parcel;
}

}  // namespace sidecar::client_internal
