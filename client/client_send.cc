// Client::send, of whatever it is.
#include <algorithm>
#include <utility>

#include "client/calls.h"
#include "client/parcel.h"

namespace sidecar {

using client_internal::failure_of;
using client_internal::make_op;
using client_internal::not_connected;
using client_internal::Op;
using client_internal::OpKind;
using client_internal::Parcel;
using client_internal::ready;
using client_internal::Runtime;
using client_internal::state_of;

namespace {

SendHandle refused(const Failure& failure) { return {ready<void>(failure), ready<void>(failure)}; }

SendHandle start_send(const std::shared_ptr<Runtime>& runtime, const ChunkMeta& meta, const Destinations& to,
                      Parcel parcel, std::chrono::nanoseconds deadline) {
  SendHandle handle;
  std::unique_ptr<Op> op = make_op<void>(runtime, OpKind::kSend, deadline, &handle.delivered);
  op->captured = state_of<void>(runtime, op->request);
  handle.captured = Future<void>(op->captured);
  auto message = std::make_unique<Message>(std::in_place_type<Send>);
  Send& send = std::get<Send>(*message);
  send.request = op->request;
  send.meta = meta;
  send.destinations = to;
  send.timeout_ns = op->timeout_ns;
  const ConstBytes payload = client_internal::load(std::move(parcel), send, *op);
  runtime->submit(std::move(op), std::move(message), payload);
  return handle;
}

client_internal::Position position_of(ChunkIndex chunk, ChunkIndex num_chunks, const SendOptions& options) {
  return {chunk, num_chunks, options.stream};
}

}  // namespace

inline namespace api {

SendHandle Client::send_async(const Tensor& tensor, std::string_view id, const Groups& to, ChunkIndex chunk,
                              ChunkIndex num_chunks, const SendOptions& options) {
  const std::shared_ptr<Runtime> held = runtime();
  if (held == nullptr) return refused(not_connected());
  const auto meta = client_internal::tensor_meta(id, position_of(chunk, num_chunks, options), tensor.dtype,
                                                 tensor.shape, options.unit_bytes);
  if (!meta) return refused(failure_of(meta.error()));
  const auto destinations = client_internal::destinations_of(to, held->options().group);
  if (!destinations) return refused(failure_of(destinations.error()));
  if (tensor.on_gpu) return send_from_gpu(held, tensor, *meta, *destinations, options.deadline);
  auto parcel = client_internal::parcel_of(tensor, meta->bytes, held->place());
  if (!parcel) return refused(failure_of(parcel.error()));
  return start_send(held, *meta, *destinations, std::move(*parcel), options.deadline);
}

SendHandle Client::send_async(const Object& object, std::string_view id, const Groups& to, ChunkIndex chunk,
                              ChunkIndex num_chunks, const SendOptions& options) {
  const std::shared_ptr<Runtime> held = runtime();
  if (held == nullptr) return refused(not_connected());
  const auto meta =
      client_internal::object_meta(id, position_of(chunk, num_chunks, options), object, options.unit_bytes);
  if (!meta) return refused(failure_of(meta.error()));
  const auto destinations = client_internal::destinations_of(to, held->options().group);
  if (!destinations) return refused(failure_of(destinations.error()));
  auto parcel = client_internal::parcel_of(object, held->place());
  if (!parcel) return refused(failure_of(parcel.error()));
  return start_send(held, *meta, *destinations, std::move(*parcel), options.deadline);
}

SendHandle Client::send_async(Buffer&& buffer, std::string_view id, const Groups& to, ChunkIndex chunk,
                              ChunkIndex num_chunks, const SendOptions& options) {
  const std::shared_ptr<Runtime> held = runtime();
  if (held == nullptr) return refused(not_connected());
  if (!buffer.valid()) return refused({Errc::kInvalidArgument, kNoRank, "buffer: empty, or sent already"});
  const auto meta = client_internal::tensor_meta(id, position_of(chunk, num_chunks, options), buffer.dtype(),
                                                 buffer.shape(), options.unit_bytes);
  if (!meta) return refused(failure_of(meta.error()));
  const auto destinations = client_internal::destinations_of(to, held->options().group);
  if (!destinations) return refused(failure_of(destinations.error()));
  return start_send(held, *meta, *destinations,
                    client_internal::parcel_of(std::move(buffer), *held, held->place()), options.deadline);
}

// What has to be waited for here counts against the deadline.
SendHandle Client::send_from_gpu(const std::shared_ptr<Runtime>& held, const Tensor& tensor,
                                 const ChunkMeta& meta, const Destinations& to,
                                 std::chrono::nanoseconds deadline) {
  if (deadline.count() < 0) deadline = held->options().deadline;
  const auto began = std::chrono::steady_clock::now();
  client_internal::GpuRoute route = held->gpu_route();
  if (held->may_wait() && !detail::InCallback::any()) {
    route.allocate = [&](std::uint64_t bytes) { return allocate({bytes}, Dtype::kU8, deadline); };
  }
  auto parcel = client_internal::gpu_parcel_of(tensor, meta.bytes, held->place(), route);
  if (!parcel) return refused(parcel.error());
  if (deadline != kForever) {
    const std::chrono::nanoseconds waited = std::chrono::steady_clock::now() - began;
    deadline = std::max(deadline - waited, std::chrono::nanoseconds{0});
  }
  return start_send(held, meta, to, std::move(*parcel), deadline);
}

Expected<void> Client::send(const Tensor& tensor, std::string_view id, const Groups& to, ChunkIndex chunk,
                            ChunkIndex num_chunks, const SendOptions& options) {
  return send_async(tensor, id, to, chunk, num_chunks, options).delivered.get();
}

Expected<void> Client::send(const Object& object, std::string_view id, const Groups& to, ChunkIndex chunk,
                            ChunkIndex num_chunks, const SendOptions& options) {
  return send_async(object, id, to, chunk, num_chunks, options).delivered.get();
}

Expected<void> Client::send(Buffer&& buffer, std::string_view id, const Groups& to, ChunkIndex chunk,
                            ChunkIndex num_chunks, const SendOptions& options) {
  return send_async(std::move(buffer), id, to, chunk, num_chunks, options).delivered.get();
}

}  // namespace api
}  // namespace sidecar
