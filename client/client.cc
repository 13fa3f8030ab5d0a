#include "sidecar/client.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "client/arguments.h"
#include "client/parcel.h"
#include "client/runtime.h"
#include "core/log.h"

namespace sidecar {

using client_internal::failure_of;
using client_internal::Op;
using client_internal::OpKind;
using client_internal::Parcel;
using client_internal::Runtime;
using client_internal::StatePtr;

namespace {

template <class T>
StatePtr<T> state_of(const std::shared_ptr<Runtime>& runtime, RequestId request) {
  return std::make_shared<detail::State<T>>(runtime, request);
}

// A call that is over before it began.
template <class T>
Future<T> ready(Expected<T> value) {
  auto state = std::make_shared<detail::State<T>>(std::weak_ptr<detail::Driver>(), 0);
  state->set(std::move(value));
  return Future<T>(std::move(state));
}

SendHandle refused(const Failure& failure) { return {ready<void>(failure), ready<void>(failure)}; }

Failure not_connected() { return {Errc::kUnavailable, kNoRank, "the client is not connected"}; }

template <class T>
std::unique_ptr<Op> make_op(const std::shared_ptr<Runtime>& runtime, OpKind kind,
                            std::chrono::nanoseconds deadline, Future<T>* future) {
  auto op = std::make_unique<Op>();
  op->kind = kind;
  op->request = runtime->next_request();
  op->timeout_ns = client_internal::timeout_ns_of(deadline, runtime->options().deadline);
  StatePtr<T> state = state_of<T>(runtime, op->request);
  op->result = state;
  *future = Future<T>(std::move(state));
  return op;
}

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

// close() takes the runtime away while other threads may be calling: whoever calls holds it meanwhile.
struct Client::Shared {
  std::mutex mutex;
  std::shared_ptr<Runtime> runtime;  // under mutex
};

Client::Client(std::shared_ptr<Runtime> runtime) : shared_(std::make_shared<Shared>()) {
  shared_->runtime = std::move(runtime);
}
Client::Client(Client&&) noexcept = default;
Client::~Client() { close(); }

Client& Client::operator=(Client&& other) noexcept {
  if (this != &other) {
    close();
    shared_ = std::move(other.shared_);
  }
  return *this;
}

std::shared_ptr<Runtime> Client::runtime() const {
  if (shared_ == nullptr) return nullptr;
  const std::lock_guard lock(shared_->mutex);
  return shared_->runtime;
}

Expected<Client> Client::connect(ClientOptions options) {
  set_default_log_level(LogLevel::kWarn);  // a library speaks up only when something is wrong
  Expected<std::shared_ptr<Runtime>> runtime = Runtime::open(options);
  if (!runtime) return runtime.error();
  return Client(std::move(*runtime));
}

void Client::close() {
  if (shared_ == nullptr) return;
  std::shared_ptr<Runtime> taken;
  {
    const std::lock_guard lock(shared_->mutex);
    taken.swap(shared_->runtime);
  }
  if (taken != nullptr) taken->close();
}

// --- send
// ---------------------------------------------------------------------------------------------------------------

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

// --- everything else
// ----------------------------------------------------------------------------------------------------

Future<Buffer> Client::allocate_async(std::vector<std::uint64_t> shape, Dtype dtype,
                                      std::chrono::nanoseconds deadline) {
  const std::shared_ptr<Runtime> held = runtime();
  if (held == nullptr) return ready<Buffer>(not_connected());
  // The same checks as for sending it, under some id.
  const auto meta = client_internal::tensor_meta("id", {}, dtype, shape, 0);
  if (!meta) return ready<Buffer>(failure_of(meta.error()));
  if (meta->bytes == 0 || !held->maps_arena()) {
    return ready<Buffer>(client_internal::Session::private_buffer(dtype, std::move(shape), meta->bytes));
  }
  Future<Buffer> future;
  std::unique_ptr<Op> op = make_op<Buffer>(held, OpKind::kAllocate, deadline, &future);
  op->wanted = std::make_shared<Buffer::Content>();
  op->wanted->bytes = meta->bytes;
  op->wanted->dtype = dtype;
  op->wanted->shape = std::move(shape);
  auto message = std::make_unique<Message>(std::in_place_type<Allocate>);
  Allocate& allocate = std::get<Allocate>(*message);
  allocate.request = op->request;
  allocate.bytes = meta->bytes;
  allocate.timeout_ns = op->timeout_ns;
  held->submit(std::move(op), std::move(message), {});
  return future;
}

Expected<Buffer> Client::allocate(std::vector<std::uint64_t> shape, Dtype dtype,
                                  std::chrono::nanoseconds deadline) {
  return allocate_async(std::move(shape), dtype, deadline).get();
}

Future<void> Client::close_stream_async(std::string_view id, ChunkIndex num_chunks, const Groups& to,
                                        std::chrono::nanoseconds deadline) {
  const std::shared_ptr<Runtime> held = runtime();
  if (held == nullptr) return ready<void>(not_connected());
  const auto data_id = client_internal::data_id_of(id);
  if (!data_id) return ready<void>(failure_of(data_id.error()));
  const auto destinations = client_internal::destinations_of(to, held->options().group);
  if (!destinations) return ready<void>(failure_of(destinations.error()));
  Future<void> future;
  std::unique_ptr<Op> op = make_op<void>(held, OpKind::kPlain, deadline, &future);
  auto message = std::make_unique<Message>(std::in_place_type<CloseStream>);
  CloseStream& close = std::get<CloseStream>(*message);
  close.request = op->request;
  close.id = *data_id;
  close.num_chunks = num_chunks;
  close.destinations = *destinations;
  close.timeout_ns = op->timeout_ns;
  held->submit(std::move(op), std::move(message), {});
  return future;
}

Expected<void> Client::close_stream(std::string_view id, ChunkIndex num_chunks, const Groups& to,
                                    std::chrono::nanoseconds deadline) {
  return close_stream_async(id, num_chunks, to, deadline).get();
}

Future<View> Client::recv_async(std::string_view id, ChunkIndex chunk, std::chrono::nanoseconds deadline) {
  const std::shared_ptr<Runtime> held = runtime();
  if (held == nullptr) return ready<View>(not_connected());
  const auto data_id = client_internal::data_id_of(id);
  if (!data_id) return ready<View>(failure_of(data_id.error()));
  Future<View> future;
  std::unique_ptr<Op> op = make_op<View>(held, OpKind::kRecv, deadline, &future);
  op->id = *data_id;
  op->chunk = chunk;
  op->by_value = !held->maps_arena();
  auto message = std::make_unique<Message>(std::in_place_type<Recv>);
  Recv& recv = std::get<Recv>(*message);
  recv.request = op->request;
  recv.id = *data_id;
  recv.chunk = chunk;
  recv.timeout_ns = op->timeout_ns;
  recv.by_value = op->by_value;
  held->submit(std::move(op), std::move(message), {});
  return future;
}

Expected<View> Client::recv(std::string_view id, ChunkIndex chunk, std::chrono::nanoseconds deadline) {
  return recv_async(id, chunk, deadline).get();
}

Future<void> Client::mark_done_async(std::string_view id, ChunkIndex chunk) {
  const std::shared_ptr<Runtime> held = runtime();
  if (held == nullptr) return ready<void>(not_connected());
  const auto data_id = client_internal::data_id_of(id);
  if (!data_id) return ready<void>(failure_of(data_id.error()));
  Future<void> future;
  std::unique_ptr<Op> op = make_op<void>(held, OpKind::kPlain, kDefaultDeadline, &future);
  auto message = std::make_unique<Message>(std::in_place_type<MarkDone>);
  MarkDone& done = std::get<MarkDone>(*message);
  done.request = op->request;
  done.id = *data_id;
  done.chunk = chunk;
  held->submit(std::move(op), std::move(message), {});
  return future;
}

Expected<void> Client::mark_done(std::string_view id, ChunkIndex chunk) {
  return mark_done_async(id, chunk).get();
}

int Client::fd() const {
  const std::shared_ptr<Runtime> held = runtime();
  return held == nullptr ? -1 : held->fd();
}

std::chrono::nanoseconds Client::poll_within() const {
  const std::shared_ptr<Runtime> held = runtime();
  return held == nullptr ? kForever : held->poll_within();
}

void Client::poll(std::chrono::nanoseconds wait_max) {
  if (const std::shared_ptr<Runtime> held = runtime(); held != nullptr) held->poll(wait_max);
}

bool Client::connected() const {
  const std::shared_ptr<Runtime> held = runtime();
  return held != nullptr && held->connected();
}

Rank Client::rank() const {
  const std::shared_ptr<Runtime> held = runtime();
  return held == nullptr ? kNoRank : held->rank();
}

bool Client::shares_memory() const {
  const std::shared_ptr<Runtime> held = runtime();
  return held != nullptr && held->maps_arena();
}

}  // namespace api
}  // namespace sidecar
