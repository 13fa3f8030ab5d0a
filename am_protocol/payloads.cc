#include "am_protocol/transport_impl.h"

namespace sidecar {

void UcxTransportImpl::receive(const Incoming& incoming, Bytes into, Token token) {
  check_thread();
  Payload* const payload = payloads_.find(incoming.id);
  CHECK(payload != nullptr && payload->descriptor != nullptr);  // received or discarded before
  CHECK(into.size() == payload->bytes);
  void* const descriptor = std::exchange(payload->descriptor, nullptr);
  payload->token = token;
  const ucp_worker_h worker = payload->plane->worker();
  if (!payload->rendezvous) {
    // UCX 1.13 leaks an eager descriptor that ucp_am_recv_data_nbx is given outside its callback.
    std::memcpy(into.data(), descriptor, into.size());
    ucp_am_data_release(worker, descriptor);
    counters_.eager_bytes_received += into.size();
    return complete(payload, UCS_OK);
  }
  ++counters_.rendezvous_received;
  counters_.rendezvous_bytes_received += into.size();
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.recv_am = on_receive_done;
  param.user_data = payload;
  // May complete, and call on_receive_done, before it returns.
  const ucs_status_ptr_t request = ucp_am_recv_data_nbx(worker, descriptor, into.data(), into.size(), &param);
  if (request == nullptr) {
    complete(payload, UCS_OK);
  } else if (UCS_PTR_IS_ERR(request)) {
    complete(payload, UCS_PTR_STATUS(request));
  }
}

void UcxTransportImpl::after_arrived(LinkId id, Token token) {
  check_thread();
  const Link* const link = links_.find(id);
  Plane& plane =
      link != nullptr && link->control != nullptr ? *link->control->plane : *(local_ ? local_ : net_);
  plane.touch();
  plane.received.asked.push_back({id, token});
}

// A rendezvous that is dropped ends well for its sender: the protocol's own answer tells it otherwise.
void UcxTransportImpl::discard(const Incoming& incoming) {
  check_thread();
  Payload* const payload = payloads_.find(incoming.id);
  CHECK(payload != nullptr && payload->descriptor != nullptr);  // received or discarded before
  ucp_am_data_release(payload->plane->worker(), payload->descriptor);
  ++counters_.payloads_discarded;
  payloads_.release(payload);
}

void UcxTransportImpl::on_receive_done(void* request, ucs_status_t status, size_t, void* argument) noexcept {
  auto* const payload = static_cast<Payload*>(argument);
  ucp_request_free(request);
  payload->owner->complete(payload, status);
}

void UcxTransportImpl::complete(Payload* payload, ucs_status_t status) {
  payload->status = status;
  payload->plane->received.payloads.push(payload);
}

bool UcxTransportImpl::take_received(Plane::Received& received) {
  const bool worked = !received.empty();
  Handle last;  // few come at once, mostly on one link: one look at its mark is after all of them
  bool last_given_up = false;
  const auto given_up_now = [&](Handle link) {
    if (link == last) return last_given_up;
    last = link;
    return last_given_up = given_up(link);
  };
  constexpr Error kGivenUp{Errc::kPeerLost, kNoRank, "its sender has closed the connection", 0, 0};
  for (const auto [link, token] : received.asked) {
    if (!closing_down_)
      events_->on_received(token, given_up_now(link) ? Status(tl::unexpected(kGivenUp)) : Status());
  }
  received.asked.clear();
  Payload* payload = received.payloads.take();
  while (payload != nullptr) {
    Payload* const next = payload->next;
    const Token token = payload->token;
    const ucs_status_t status = payload->status;
    const Handle link = payload->link;
    const bool read_from_there = payload->rendezvous;
    payloads_.release(payload);
    payload = next;
    if (token == 0 || closing_down_) continue;
    if (status == UCS_OK && read_from_there && given_up_now(link)) {
      events_->on_received(token, tl::unexpected(kGivenUp));
    } else if (status == UCS_OK) {
      events_->on_received(token, {});
    } else {
      events_->on_received(token, tl::unexpected(ucx_error(status, "a payload could not be received")));
    }
  }
  return worked;
}

}  // namespace sidecar
