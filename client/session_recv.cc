#include <cstring>

#include "client/arguments.h"
#include "client/session.h"

namespace sidecar::client_internal {
namespace {

void describe(View::Content& content, const ChunkMeta& meta) {
  content.bytes = meta.bytes;
  content.object = meta.kind == ChunkKind::kObject;
  content.dtype = meta.dtype;
  content.codec = meta.codec;
  content.chunk = meta.chunk;
  content.num_chunks = meta.num_chunks;
  content.shape.assign(meta.shape.span().begin(), meta.shape.span().end());
}

std::shared_ptr<OwnedContent> own(const ChunkMeta& meta, bool writable) {
  auto content = std::make_shared<OwnedContent>(meta.bytes);
  describe(*content, meta);
  content->data = content->memory.data();
  if (writable) content->writable = content->memory.data();
  return content;
}

}  // namespace

void Session::on_reply(const Reply& reply, const Incoming& incoming) {
  Op* const op = find(reply.request);
  if (op == nullptr || op->reported || op->arriving != nullptr) {
    on_stale_reply(reply, incoming);
    return;
  }
  if (op->kind == OpKind::kRecv) {
    on_recv_reply(*op, reply, incoming);
    return;
  }
  if (incoming.present()) transport_.discard(incoming);
  switch (op->kind) {
    case OpKind::kSend: on_send_reply(*op, reply); break;
    case OpKind::kAllocate: on_allocate_reply(*op, reply); break;
    default: on_plain_reply(*op, reply); break;
  }
}

// The call has ended without it: whatever the reply grants is given back.
void Session::on_stale_reply(const Reply& reply, const Incoming& incoming) {
  if (incoming.present()) transport_.discard(incoming);
  if (reply.code != Errc::kOk || reply.where != Where::kArena) return;
  if (reply.stage == Stage::kRoom) return;  // given up by the Cancel that ended the call
  if (reply.meta.id.empty()) {
    releases_.add_slot(reply.offset, epoch_);
  } else {
    releases_.add_view(reply.view, epoch_);
  }
}

void Session::on_recv_reply(Op& op, const Reply& reply, const Incoming& incoming) {
  const RequestId request = op.request;
  const bool right_size = !incoming.present() || incoming.bytes == reply.meta.bytes;
  if (reply.code == Errc::kOk && reply.where == Where::kPayload && incoming.present() && right_size) {
    std::shared_ptr<OwnedContent> content = own(reply.meta, options_.writable_views);
    const Bytes into{content->memory.data(), content->bytes};
    op.arriving = std::move(content);
    transport_.receive(incoming, into, request);
    return;  // on_received
  }
  if (incoming.present()) transport_.discard(incoming);
  if (reply.code == Errc::kEndOfStream) {
    auto end = std::make_shared<View::Content>();
    end->end = true;
    end->chunk = op.chunk;
    end->num_chunks = reply.meta.num_chunks;
    report_value<View>(op, View(std::move(end)));
  } else if (reply.code != Errc::kOk) {
    report(op, failure_of(reply));
  } else if (reply.where == Where::kArena) {
    view_in_arena(op, reply);
  } else if (const std::uint64_t held = reply.where == Where::kInline ? reply.inline_bytes : 0;
             held == reply.meta.bytes && right_size) {
    std::shared_ptr<OwnedContent> content = own(reply.meta, options_.writable_views);
    if (held > 0) std::memcpy(content->memory.data(), reply.inline_data.data(), held);
    report_value<View>(op, View(std::move(content)));
  } else {
    report(op, {Errc::kProtocol, options_.rank, "the chunk's bytes are not as long as it says"});
  }
  erase_if_idle(request);
}

void Session::view_in_arena(Op& op, const Reply& reply) {
  const MappedRegion* const mapping =
      options_.map_arenas && !op.by_value ? mappings_.get(reply.arena, options_.writable_views) : nullptr;
  const std::shared_ptr<Keeper> keeper = keeper_.lock();
  const ChunkMeta& meta = reply.meta;
  if (mapping != nullptr && keeper != nullptr && reply.offset <= mapping->bytes &&
      meta.bytes <= mapping->bytes - reply.offset) {
    auto content = std::make_shared<SharedContent>();
    describe(*content, meta);
    content->data = mapping->data + reply.offset;
    if (options_.writable_views) content->writable = mapping->writable + reply.offset;
    content->shared = true;
    content->keeper = keeper;
    content->mapping = mapping->keep;
    content->pin = mapping->pin;
    content->grant = reply.view;
    content->epoch = epoch_;
    content->connection = connection_;
    report_value<View>(op, View(std::move(content)));
    return;
  }
  releases_.add_view(reply.view, epoch_);
  if (keeper == nullptr) {
    report(op, {Errc::kCancelled, options_.rank, "the client was closed"});
  } else if (op.by_value || mapping != nullptr) {
    report(op, {Errc::kProtocol, options_.rank, "the chunk does not lie in the arena it names"});
  } else {
    ask_by_value(op);
  }
}

// Not everything can be mapped from here: have the sidecar send the bytes.
void Session::ask_by_value(Op& op) {
  op.by_value = true;
  const TimeNs now = options_.now();
  Recv again;
  again.request = op.request;
  again.id = op.id;
  again.chunk = op.chunk;
  again.by_value = true;
  if (op.ends_at != kNever) again.timeout_ns = op.ends_at > now ? op.ends_at - now : 0;
  send_plain(again);
}

void Session::on_received(Token token, const Status& status) {
  Op* const op = find(token);
  if (op == nullptr || op->arriving == nullptr) return;
  std::shared_ptr<View::Content> content = std::move(op->arriving);
  op->arriving = nullptr;
  if (!op->reported) {
    if (status) {
      report_value<View>(*op, View(std::move(content)));
    } else {
      report(*op, {Errc::kPeerLost, options_.rank, "the sidecar went away while its bytes were on the way"});
    }
  }
  erase_if_idle(token);
}

bool Session::flush_releases() {
  if (!std::holds_alternative<Release>(scratch_)) scratch_.emplace<Release>();
  bool any = false;
  while (releases_.take(std::get<Release>(scratch_))) {
    if (state_ == LinkState::kUp) send_plain(scratch_);  // otherwise there is nobody left to tell
    any = true;
  }
  return any;
}

}  // namespace sidecar::client_internal
