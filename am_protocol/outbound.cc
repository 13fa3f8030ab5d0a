#include "am_protocol/am_ids.h"
#include "am_protocol/transport_impl.h"

namespace sidecar {

void UcxTransportImpl::send(LinkId id, const Message& message, ConstBytes payload, bool rendezvous,
                            Token token) {
  check_thread();
  rendezvous = rendezvous && !payload.empty();
  CHECK(rendezvous || payload.size() <= kEagerBytesMax);
  SendOp* const op = make_send(message, token);
  Link* const link = links_.find(id);
  if (link == nullptr || link->state != Link::State::kUp || link->broken.linked()) {
    return complete(op, UCS_ERR_NOT_CONNECTED);
  }
  if (std::holds_alternative<Goodbye>(message)) link->said_goodbye = true;
  if (link->sends.size() == kSendsPerLinkMax) {
    fail_later(*link, {Errc::kIo, kNoRank, "the other side takes nothing that is sent to it", 0, 0});
    return complete(op, UCS_ERR_EXCEEDS_LIMIT);
  }
  op->link = id;
  link->sends.push_back(op);
  ++counters_.messages_sent;
  if (rendezvous) {
    ++counters_.rendezvous_sent;
    counters_.rendezvous_bytes_sent += payload.size();
  } else {
    counters_.eager_bytes_sent += payload.size();
  }
  const bool bulk = link->bulk_usable && (rendezvous || payload.size() > kControlPayloadMax);
  issue(op, bulk ? *link->bulk : *link->control, payload, rendezvous);
}

SendOp* UcxTransportImpl::make_send(const Message& message, Token token) {
  SendOp* const op = sends_.acquire();
  CHECK(op != nullptr);
  op->owner = this;
  op->plane = nullptr;
  op->token = token;
  op->link = Handle{};
  const std::size_t bytes = encoder_.encode(message, std::span(encoded_));
  op->header_bytes = static_cast<std::uint32_t>(bytes);
  op->long_header = nullptr;
  std::byte* header = op->short_header.data();
  if (bytes > kShortHeaderBytes) {
    op->long_header = long_headers_.acquire();
    header = op->long_header->bytes.data();
  }
  std::memcpy(header, encoded_.data(), bytes);
  return op;
}

// The three ways that a send can begin: done, failed, under way. When it is done and nobody wants to know, it
// is over.
void UcxTransportImpl::issue(SendOp* op, Endpoint& endpoint, ConstBytes payload, bool rendezvous) {
  const std::byte* const header =
      op->long_header != nullptr ? op->long_header->bytes.data() : op->short_header.data();
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  // REPLY: the receiver is told which endpoint it came from.
  param.flags = UCP_AM_SEND_FLAG_REPLY | (rendezvous ? UCP_AM_SEND_FLAG_RNDV : UCP_AM_SEND_FLAG_EAGER);
  param.cb.send = on_send_done;
  param.user_data = op;
  op->plane = endpoint.plane;
  op->plane->touch();
  const ucs_status_ptr_t request =
      ucp_am_send_nbx(endpoint.ucp, kAmId, header, op->header_bytes, payload.data(), payload.size(), &param);
  if (request == nullptr && op->token == 0) {
    detach(op);
    release(op);
  } else if (request == nullptr) {
    complete(op, UCS_OK);
  } else if (UCS_PTR_IS_ERR(request)) {
    complete(op, UCS_PTR_STATUS(request));
  }
}

void UcxTransportImpl::on_send_done(void* request, ucs_status_t status, void* argument) noexcept {
  auto* const op = static_cast<SendOp*>(argument);
  ucp_request_free(request);
  op->owner->complete(op, status);
}

void UcxTransportImpl::detach(SendOp* op) {
  if (orphans_.contains(op)) {
    orphans_.remove(op);
  } else if (op->under_way.linked()) {
    links_.find(op->link)->sends.remove(op);
  }
}

void UcxTransportImpl::complete(SendOp* op, ucs_status_t status) {
  detach(op);
  op->status = status;
  sent_.push(op);
}

bool UcxTransportImpl::take_sent() {
  SendOp* op = sent_.take();
  const bool worked = op != nullptr;
  while (op != nullptr) {
    SendOp* const next = op->next;
    const Token token = op->token;
    const ucs_status_t status = op->status;
    release(op);
    op = next;
    if (status != UCS_OK) ++counters_.send_failures;
    if (token == 0 || closing_down_) continue;
    if (status == UCS_OK) {
      events_->on_sent(token, {});
    } else if (status == UCS_ERR_NOT_CONNECTED) {
      events_->on_sent(token, fail(Errc::kUnavailable, "there is no such connection"));
    } else {
      events_->on_sent(token, tl::unexpected(ucx_error(status, "a message could not be sent")));
    }
  }
  return worked;
}

// What is left of a link that has ended. UCX completes it with errors almost at once, with one exception:
// over shared memory, to a process that was killed or stopped while its queue was full, it never does.
void UcxTransportImpl::orphan(Link& link) {
  const TimeNs abandon_at = Loop::now_ns() + kAbandonNs;
  while (SendOp* const op = link.sends.pop_front()) {
    op->link = Handle{};
    op->abandon_at = abandon_at;
    orphans_.push_back(op);
  }
  if (!orphans_.empty() && !orphan_timer_.set()) deadlines_.set_in(orphan_timer_, kAbandonNs);
}

// The engine hears that it failed. UCX may still hold the payload's address, as it may after any forced
// close; what is sent from there later reaches nobody, since the connection is gone.
void UcxTransportImpl::abandon_orphans() {
  const TimeNs now = Loop::now_ns();
  while (SendOp* const op = orphans_.front()) {
    if (op->abandon_at > now) return deadlines_.set_in(orphan_timer_, op->abandon_at - now);
    orphans_.remove(op);
    ++counters_.sends_abandoned;
    if (const Token token = std::exchange(op->token, 0); token != 0) {
      events_->on_sent(token, fail(Errc::kIo, "a message could not be sent"));
    }
  }
}

void UcxTransportImpl::release(SendOp* op) {
  if (op->long_header != nullptr) long_headers_.release(op->long_header);
  sends_.release(op);
}

}  // namespace sidecar
