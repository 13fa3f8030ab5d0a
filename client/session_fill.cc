// Large sends of the caller's memory: this process copies the bytes into the sidecar's arena, where it is
// told to, on its own thread and a piece at a time. The sidecar reads smaller ones itself, which costs it a
// lookup of every page, on the thread that serves everybody.
#include <algorithm>
#include <cstring>

#include "client/session.h"

namespace sidecar::client_internal {
namespace {

// Smaller ones are over sooner than the answer where to copy them to is here (perf/NOTES.md).
constexpr std::uint64_t kFillBytesMin = std::uint64_t{256} << 10;
// Copied in one step of the loop, some 100 us: other calls of the client wait for no more.
constexpr std::uint64_t kFillStep = std::uint64_t{256} << 10;

}  // namespace

bool Session::fills_itself(const Message& message, ConstBytes payload) const {
  return version_ >= kFillVersion && std::holds_alternative<Send>(message) &&
         payload.size() >= kFillBytesMin && own_arena_.writable != nullptr;
}

void Session::ask_for_room(Op& op, Message& message, ConstBytes payload) {
  Send& send = std::get<Send>(message);
  send.source = Source::kFill;
  const Slice whole{0, send.meta.bytes};
  const Slice slice = send.shards == 0 ? whole : shard_of(send.meta.bytes, send.shard, send.shards);
  op.fill = std::make_unique<Fill>(Fill{.from = payload, .begin = slice.begin, .of = send.meta.bytes});
  send_plain(message);
}

void Session::on_room(Op& op, const Reply& reply) {
  if (op.fill == nullptr || op.fill->has_room) return;
  if (reply.where != Where::kArena || reply.offset > own_arena_.bytes ||
      op.fill->of > own_arena_.bytes - reply.offset) {
    const RequestId request = op.request;
    op.fill.reset();
    send_plain(Cancel{request});
    report(op, {Errc::kProtocol, options_.rank, "the place for a send does not lie in the arena"});
    erase_if_idle(request);
    return;
  }
  op.fill->has_room = true;
  op.fill->slot = reply.offset;
  filling_.push_back(op.request);
}

// A piece of the first one. True: there was one.
bool Session::fill_step() {
  while (!filling_.empty()) {
    Op* const op = find(filling_.front());
    if (op == nullptr || op->fill == nullptr) {  // it has ended
      filling_.pop_front();
      continue;
    }
    Fill& fill = *op->fill;
    const std::uint64_t piece = std::min(fill.from.size() - fill.done, kFillStep);
    std::byte* const to = own_arena_.writable + fill.slot + fill.begin;
    std::memcpy(to + fill.done, fill.from.data() + fill.done, piece);
    fill.done += piece;
    if (fill.done == fill.from.size()) {
      filling_.pop_front();
      end_fill(*op);
    }
    return true;
  }
  return false;
}

// The caller may have its memory back.
void Session::end_fill(Op& op) {
  send_plain(Filled{op.fill->slot});
  op.fill.reset();
  op.captured_by_sidecar = true;
  op.payload_owner.reset();
  if (op.captured != nullptr) std::exchange(op.captured, nullptr)->set(Expected<void>{});
}

// The sidecar has ended the call before, and may now use the place for something else. (Who says Cancel has
// given it up by that.)
void Session::abandon_fill(Op& op) {
  if (op.fill != nullptr && op.fill->has_room) releases_.add_slot(op.fill->slot, epoch_);
  op.fill.reset();
}

}  // namespace sidecar::client_internal
