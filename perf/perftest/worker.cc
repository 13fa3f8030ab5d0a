#include "perf/perftest/worker.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sidecar::perf {
namespace {

constexpr unsigned kAmId = 1;
// UCX reads an address with no end: what a hostile one makes it read beyond ours is at least ours.
constexpr std::size_t kAddressPadding = 4096;

}  // namespace

Result<std::unique_ptr<PerftestWorker>> PerftestWorker::open(const PerftestParams& params) {
  std::unique_ptr<PerftestWorker> worker(new PerftestWorker(params));
  Status status = worker->open_worker();
  if (status) status = worker->allocate(params.send_iov, &worker->out_);
  if (status) status = worker->allocate(params.receive_iov, &worker->in_);
  if (!status) return tl::unexpected(status.error());
  return worker;
}

PerftestWorker::~PerftestWorker() {
  free(in_);
  free(out_);
}

Status PerftestWorker::open_worker() {
  ucp_config_t* config = nullptr;
  ucs_status_t status = ucp_config_read(nullptr, nullptr, &config);
  if (status != UCS_OK) return tl::unexpected(ucx_error(status, "UCX does not accept its settings"));
  ucp_params_t context{};
  context.field_mask = UCP_PARAM_FIELD_FEATURES;
  context.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  ucp_context_h raw_context = nullptr;
  status = ucp_init(&context, config, &raw_context);
  ucp_config_release(config);
  if (status != UCS_OK)
    return tl::unexpected(ucx_error(status, "UCX finds no transport it may use (UCX_TLS?)"));
  context_.reset(raw_context);

  ucp_worker_params_t worker{};
  worker.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker.thread_mode = UCS_THREAD_MODE_SINGLE;
  ucp_worker_h raw_worker = nullptr;
  status = ucp_worker_create(context_.get(), &worker, &raw_worker);
  if (status != UCS_OK) return tl::unexpected(ucx_error(status, "UCX cannot create a worker"));
  worker_.reset(raw_worker);

  ucp_worker_attr_t attributes{};
  attributes.field_mask = UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER;
  status = ucp_worker_query(worker_.get(), &attributes);
  if (status != UCS_OK) return tl::unexpected(ucx_error(status, "UCX does not tell its longest header"));
  if (attributes.max_am_header < header_.size()) {
    // UCX 1.13 does not check the length when it sends; it would end the process.
    return fail(Errc::kInvalidArgument, "the client's header is longer than UCX takes (-H; bytes, at most)",
                kNoRank, header_.size(), attributes.max_am_header);
  }
  status = ucp_worker_get_efd(worker_.get(), &fd_);
  if (status != UCS_OK)
    return tl::unexpected(ucx_error(status, "UCX's transports cannot wake a sleeping process"));

  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                       UCP_AM_HANDLER_PARAM_FIELD_ARG | UCP_AM_HANDLER_PARAM_FIELD_FLAGS;
  handler.id = kAmId;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG;
  handler.arg = this;
  handler.cb = [](void* self, const void*, size_t, void* data, size_t bytes,
                  const ucp_am_recv_param_t* param) {
    return static_cast<PerftestWorker*>(self)->on_message(data, bytes, *param);
  };
  status = ucp_worker_set_am_recv_handler(worker_.get(), &handler);
  if (status != UCS_OK) return tl::unexpected(ucx_error(status, "UCX does not take our handler"));
  return {};
}

// Memory comes from UCX, as in a stock perftest, so that it is of the same kind (UCX_ALLOC_PRIO).
Status PerftestWorker::allocate(bool iov, Buffer* buffer) {
  ucp_mem_map_params_t map{};
  map.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                   UCP_MEM_MAP_PARAM_FIELD_FLAGS | UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE;
  map.length = std::max<std::size_t>(params_.buffer_bytes, 1);  // a stream of nothing still ends with a byte
  map.memory_type = UCS_MEMORY_TYPE_HOST;
  map.flags = UCP_MEM_MAP_ALLOCATE;
  if (params_.map_later) map.flags |= UCP_MEM_MAP_NONBLOCK;
  ucs_status_t status = ucp_mem_map(context_.get(), &map, &buffer->handle);
  ucp_mem_attr_t attributes{};
  attributes.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS;
  if (status == UCS_OK) status = ucp_mem_query(buffer->handle, &attributes);
  if (status != UCS_OK) return tl::unexpected(ucx_error(status, "UCX has no memory for the messages"));
  buffer->bytes = static_cast<std::byte*>(attributes.address);
  std::size_t offset = 0;
  for (std::size_t i = 0; iov && i < params_.sizes.size(); ++i) {
    buffer->parts.push_back({buffer->bytes + offset, params_.sizes[i]});
    offset += params_.stride != 0 ? params_.stride : params_.sizes[i];
  }
  return {};
}

void PerftestWorker::free(Buffer& buffer) {
  if (buffer.handle != nullptr) ucp_mem_unmap(context_.get(), buffer.handle);
}

Result<std::vector<std::byte>> PerftestWorker::address() const {
  ucp_address_t* raw = nullptr;
  std::size_t length = 0;
  const ucs_status_t status = ucp_worker_get_address(worker_.get(), &raw, &length);
  if (status != UCS_OK) return tl::unexpected(ucx_error(status, "UCX does not tell its worker's address"));
  const auto* const bytes = reinterpret_cast<const std::byte*>(raw);
  std::vector<std::byte> address(bytes, bytes + length);
  ucp_worker_release_address(worker_.get(), raw);
  return address;
}

Status PerftestWorker::connect(std::span<const std::byte> address) {
  std::vector<std::byte> padded(address.size() + kAddressPadding);
  std::memcpy(padded.data(), address.data(), address.size());
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS;
  params.address = reinterpret_cast<const ucp_address_t*>(padded.data());
  if (params_.peer_errors) {  // as the client has it: the lanes depend on it
    params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
    params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    params.err_handler.arg = this;
    params.err_handler.cb = [](void* self, ucp_ep_h, ucs_status_t status) {
      auto* const me = static_cast<PerftestWorker*>(self);
      if (!me->closing_) me->note(status, "the connection broke");
    };
  }
  const ucs_status_t status = ucp_ep_create(worker_.get(), &params, &endpoint_);
  if (status != UCS_OK) return tl::unexpected(ucx_error(status, "UCX cannot reach the client's address"));
  return {};
}

void PerftestWorker::note(ucs_status_t status, const char* what) {
  if (status != UCS_OK && status_) status_ = tl::unexpected(ucx_error(status, what));
}

void PerftestWorker::describe(const Buffer& buffer, ucp_request_param_t* operation) const {
  operation->op_attr_mask |=
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_DATATYPE;
  operation->datatype = buffer.parts.empty() ? ucp_dt_make_contig(1) : ucp_dt_make_iov();
  if (params_.registered) {
    operation->op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
    operation->memh = buffer.handle;
  }
}

void PerftestWorker::send(Message message) {
  ucp_request_param_t operation{};
  describe(out_, &operation);
  operation.user_data = this;
  operation.cb.send = [](void* request, ucs_status_t status, void* self) {
    auto* const me = static_cast<PerftestWorker*>(self);
    --me->sending_;
    me->note(status, "a message could not be sent");
    ucp_request_free(request);
  };
  const void* const data = out_.parts.empty() ? static_cast<const void*>(out_.bytes) : out_.parts.data();
  std::size_t count = out_.parts.empty() ? params_.message_bytes : out_.parts.size();
  if (message == Message::kEnd) {
    count = 1;
  } else {
    ++sent_;
  }
  void* const request =
      ucp_am_send_nbx(endpoint_, kAmId, header_.data(), header_.size(), data, count, &operation);
  if (UCS_PTR_IS_PTR(request)) {
    ++sending_;
  } else {
    note(UCS_PTR_STATUS(request), "a message could not be sent");
  }
}

ucs_status_t PerftestWorker::on_message(void* data, std::size_t bytes, const ucp_am_recv_param_t& param) {
  const bool announced = (param.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
  // Shorter ones come: the first message that a 1.13 client sends as a list has as many bytes as the list has
  // parts, because UCX overlooks its datatype.
  if (bytes > params_.message_bytes) {
    note(UCS_ERR_MESSAGE_TRUNCATED, "a message is longer than was agreed");
    return announced ? UCS_ERR_MESSAGE_TRUNCATED : UCS_OK;
  }
  if (announced) {
    announced_.push_back(data);
    return UCS_INPROGRESS;
  }
  if (params_.copy_on_receive && bytes > 0) std::memcpy(in_.bytes, data, bytes);
  ++arrived_;
  return UCS_OK;
}

bool PerftestWorker::receive() {
  if (announced_.empty()) return false;
  for (void* const message : announced_) {
    ucp_request_param_t operation{};
    operation.op_attr_mask =
        UCP_OP_ATTR_FLAG_NO_IMM_CMPL;  // the callback is called even if it is over at once
    describe(in_, &operation);
    operation.user_data = this;
    operation.cb.recv_am = [](void* request, ucs_status_t status, size_t, void* self) {
      auto* const me = static_cast<PerftestWorker*>(self);
      ++me->arrived_;
      me->note(status, "a message could not be received");
      ucp_request_free(request);
    };
    void* const into = in_.parts.empty() ? static_cast<void*>(in_.bytes) : in_.parts.data();
    const std::size_t count = in_.parts.empty() ? params_.message_bytes : in_.parts.size();
    const void* const request = ucp_am_recv_data_nbx(worker_.get(), message, into, count, &operation);
    if (UCS_PTR_IS_ERR(request)) note(UCS_PTR_STATUS(request), "a message could not be received");
  }
  announced_.clear();
  return true;
}

void PerftestWorker::begin(void* request, const char* what) {
  request_is_ = what;
  request_ = UCS_PTR_IS_PTR(request) ? request : nullptr;
  if (UCS_PTR_IS_ERR(request)) note(UCS_PTR_STATUS(request), what);
}

void PerftestWorker::flush() {
  ucp_request_param_t operation{};
  begin(ucp_worker_flush_nbx(worker_.get(), &operation), "UCX could not flush");
}

void PerftestWorker::close() {
  closing_ = true;
  ucp_request_param_t operation{};
  begin(ucp_ep_close_nbx(std::exchange(endpoint_, nullptr), &operation), "UCX could not close");
}

bool PerftestWorker::done() {
  if (request_ == nullptr) return true;
  const ucs_status_t status = ucp_request_check_status(request_);
  if (status == UCS_INPROGRESS) return false;
  ucp_request_free(std::exchange(request_, nullptr));
  // While both sides close, the other one may have been first.
  if (!closing_) note(status, request_is_);
  return true;
}

bool PerftestWorker::progress(int budget) {
  bool worked = false;
  while (budget-- > 0 && ucp_worker_progress(worker_.get()) > 0) {
    worked = true;
    if (arrived_ >= wanted_ || !announced_.empty()) break;
  }
  return worked;
}

bool PerftestWorker::arm() {
  const ucs_status_t status = ucp_worker_arm(worker_.get());
  if (status == UCS_ERR_BUSY) return false;
  note(status, "UCX cannot be waited for");
  return true;
}

}  // namespace sidecar::perf
