// What others do against the protocol. Whoever waits for an answer gets one, so that a mistake of one program
// shows where it was made, at once, and not as a call that never ends.
#include "core/engine.h"

namespace sidecar {

// For what no process would do by accident: the link ends.
void Engine::protocol_error(Link& link, const char* what) {
  ++counters_.protocol_errors;
  const LinkId id = link.id;
  const Rank rank = link.peer != nullptr ? link.peer->rank : kNoRank;
  transport_.close(id);
  on_link_down(id, Error{Errc::kProtocol, rank, what});
}

// Bytes that make no message. What they say besides whom to answer is not believed.
void Engine::on_bad_message(LinkId id, const Message& rest, const Incoming& incoming, const Error& why) {
  Link* const link = find_link(id);
  if (link == nullptr) {
    if (incoming.present()) transport_.discard(incoming);
    return;
  }
  if (incoming.present() && !incoming.rendezvous) link->arrived += incoming.bytes;
  discard(id, incoming);  // its sender has spent credit on it all the same
  if (link->kind == Link::Kind::kClient) {
    if (const auto request = request_of(rest)) answer(*link->client, *request, why);
    return;
  }
  link->heard = host_.now();
  link->peer->heard = link->heard;
  const auto transfer = transfer_of(rest);
  if (transfer && link->kind == Link::Kind::kPeerIn) reject_transfer(*link, *transfer, why);
}

// Answered and remembered like any other transfer; a peer that gets no answer keeps the data and sends the
// same bytes again on every new link. Only a sequence that this peer may use next, or has used, is taken for
// one, and `settled` is left to messages that can be read: a wrong sequence costs its sender that one
// transfer, a wrong `settled` would cost it all that are open.
void Engine::reject_transfer(Link& link, const Transfer& transfer, const Error& why) {
  if (transfer.sequence == 0 || transfer.settled > transfer.sequence) return;
  Peer& peer = *link.peer;
  if (peer.window.seen(transfer.sequence) == DedupWindow::Seen::kOutside) return;
  if (is_new(link, {transfer.sequence, 0})) ack(peer, link.id, transfer.sequence, why);
}

}  // namespace sidecar
