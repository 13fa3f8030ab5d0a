#include "client/arguments.h"
#include "client/session.h"

namespace sidecar::client_internal {

// Eager while the sidecar has consumed enough of what came before; rendezvous never needs credit.
bool Session::take_eager_credit(std::uint64_t bytes) {
  if (bytes > kEagerBytesMax || eager_sent_ - eager_consumed_ + bytes > kEagerWindowBytes) return false;
  eager_sent_ += bytes;
  return true;
}

void Session::on_send_reply(Op& op, const Reply& reply) {
  if (reply.stage == Stage::kRoom) return on_room(op, reply);
  if (reply.stage == Stage::kCaptured) {
    op.captured_by_sidecar = true;
    capture_if_over(op);
    return;
  }
  if (reply.code == Errc::kOk) {
    op.outcome = Expected<void>{};
  } else {
    op.outcome = failure_of(reply);
    // Refused as a whole: the sidecar has not taken the buffer over and keeps it for us. When destinations
    // have failed it did take it, and the same place may be somebody's new buffer by now.
    if (op.has_slot && reply.failures == 0) releases_.add_slot(op.slot, op.slot_epoch);
  }
  settle_send(op);
}

// The sidecar has the bytes and the transport reads them no more: the caller may have its memory back.
void Session::capture_if_over(Op& op) {
  if (op.captured_by_sidecar && !op.sending && op.captured != nullptr) {
    if (op.read_by_sidecar) op.payload_owner.reset();  // the event may serve another send
    std::exchange(op.captured, nullptr)->set(Expected<void>{});
  }
}

void Session::settle_send(Op& op) {
  if (op.sending || !op.outcome || op.reported) return;
  const RequestId request = op.request;
  if (!op.outcome->has_value()) {
    report(op, op.outcome->error());
  } else {
    op.captured_by_sidecar = true;
    capture_if_over(op);
    Op* const still = find(request);
    if (still == nullptr || still->reported) return;
    report_value<void>(*still, {});
  }
  erase_if_idle(request);
}

void Session::on_plain_reply(Op& op, const Reply& reply) {
  const RequestId request = op.request;
  if (reply.code == Errc::kOk) {
    report_value<void>(op, {});
  } else {
    report(op, failure_of(reply));
  }
  erase_if_idle(request);
}

void Session::on_allocate_reply(Op& op, const Reply& reply) {
  const RequestId request = op.request;
  const std::shared_ptr<Keeper> keeper = keeper_.lock();
  const std::uint64_t bytes = op.wanted->bytes;
  if (reply.code != Errc::kOk) {
    report(op, failure_of(reply));
  } else if (reply.where != Where::kArena || reply.offset > own_arena_.bytes ||
             bytes > own_arena_.bytes - reply.offset) {
    report(op, {Errc::kProtocol, options_.rank, "the allocation does not lie in the arena"});
  } else if (keeper == nullptr) {
    releases_.add_slot(reply.offset, epoch_);
    report(op, {Errc::kCancelled, options_.rank, "the client was closed"});
  } else {
    auto content = std::make_shared<SlotContent>();
    content->data = own_arena_.writable + reply.offset;
    content->bytes = bytes;
    content->in_arena = true;
    content->dtype = op.wanted->dtype;
    content->shape = std::move(op.wanted->shape);
    content->keeper = keeper;
    content->mapping = own_arena_.keep;
    content->pin = own_arena_.pin;
    content->slot = reply.offset;
    content->epoch = epoch_;
    content->connection = connection_;
    content->granted = true;
    report_value<Buffer>(op, Buffer(std::move(content)));
  }
  erase_if_idle(request);
}

Buffer Session::private_buffer(Dtype dtype, std::vector<std::uint64_t> shape, std::uint64_t bytes) {
  auto content = std::make_shared<PrivateContent>(bytes);
  content->data = content->memory.data();
  content->bytes = bytes;
  content->dtype = dtype;
  content->shape = std::move(shape);
  return Buffer(std::move(content));
}

}  // namespace sidecar::client_internal
