#include "sidecar/client.h"

#include <mutex>
#include <utility>

#include "client/calls.h"
#include "core/log.h"

namespace sidecar {

using client_internal::failure_of;
using client_internal::make_op;
using client_internal::not_connected;
using client_internal::Op;
using client_internal::OpKind;
using client_internal::ready;
using client_internal::Runtime;

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
