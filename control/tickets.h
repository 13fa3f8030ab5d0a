// The tickets that Hello must show: who got one, and for which connection. Owned and used by the loop's
// thread only.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "core/messages.h"

namespace sidecar {

class Tickets {
 public:
  // 128 random bits as 32 hexadecimal digits. A process without randomness cannot go on: aborts.
  static Ticket random();

  // self: the instance every Hello must be addressed to.
  explicit Tickets(InstanceId self) : self_(self) {}

  // A client's ticket stays valid, for reconnection, until it is revoked or issued anew. Beyond kClientsMax
  // the one that was neither issued nor shown for the longest time is forgotten: that client registers again
  // if it ever reconnects. (Clients that were killed never say goodbye.)
  Ticket issue_client(InstanceId client, Rank rank);
  [[nodiscard]] bool knows(InstanceId client) const { return clients_.contains(client); }
  // False when that is not the ticket of that client.
  [[nodiscard]] bool owns(InstanceId client, const Ticket& ticket) const;
  void revoke_client(InstanceId client) { clients_.erase(client); }

  // A peer's ticket is good for one Hello of that instance within kPeerTicketNs. kNoSpace when too many are
  // unused.
  Result<Ticket> issue_peer(InstanceId from_instance, Rank from_rank, TimeNs now);

  // kUnauthorized, with the reason, unless the ticket fits this Hello in every respect.
  Status redeem(const Hello& hello, TimeNs now);

  [[nodiscard]] std::size_t clients() const { return clients_.size(); }
  [[nodiscard]] std::size_t unused_peer_tickets() const { return peers_.size(); }

  static constexpr TimeNs kPeerTicketNs = 30 * kSecond;
  static constexpr std::size_t kClientsMax = 4096;
  static constexpr std::size_t kPeerTicketsMax = 4096;

 private:
  struct Client {
    Rank rank;
    std::uint64_t used;  // when it was issued or shown last, by uses_
    Ticket ticket;
  };
  struct Peer {
    InstanceId instance;
    Rank rank;
    TimeNs expires;
    Ticket ticket;
  };

  InstanceId self_;
  std::uint64_t uses_ = 0;
  std::unordered_map<InstanceId, Client> clients_;
  std::vector<Peer> peers_;  // few, and short-lived; in the order of their expiry
};

}  // namespace sidecar
