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

  // A client's ticket stays valid, for reconnection, until it is revoked or issued anew. There must be
  // room for it.
  Ticket issue_client(InstanceId client, Rank rank);
  // kNoSpace: kClientsMax others have one.
  [[nodiscard]] Status room_for(InstanceId client) const;
  [[nodiscard]] bool knows(InstanceId client) const { return clients_.contains(client); }
  // False when that is not the ticket of that client.
  [[nodiscard]] bool owns(InstanceId client, const Ticket& ticket) const;
  void revoke_client(InstanceId client) { clients_.erase(client); }
  // Revokes those of clients that are registered no more: nobody says goodbye when it is killed.
  template <class Registered>
  void revoke_unless(Registered&& registered) {
    std::erase_if(clients_, [&](const auto& entry) { return !registered(entry.first); });
  }
  [[nodiscard]] bool full() const { return clients_.size() >= kClientsMax; }

  // A peer's ticket is good for one Hello of that instance within kPeerTicketNs. Of each rank the last
  // kPeerTicketsOfRank are kept; kNoSpace when all together are too many.
  Result<Ticket> issue_peer(InstanceId from_instance, Rank from_rank, TimeNs now);

  // kUnauthorized, with the reason, unless the ticket fits this Hello in every respect.
  Status redeem(const Hello& hello, TimeNs now);

  [[nodiscard]] std::size_t clients() const { return clients_.size(); }
  [[nodiscard]] std::size_t unused_peer_tickets() const { return peers_.size(); }

  static constexpr TimeNs kPeerTicketNs = 30 * kSecond;
  static constexpr std::size_t kClientsMax = 4096;
  static constexpr std::size_t kPeerTicketsOfRank = 8;
  static constexpr std::size_t kPeerTicketsMax = 4096;

 private:
  struct Client {
    Rank rank;
    Ticket ticket;
  };
  struct Peer {
    InstanceId instance;
    Rank rank;
    TimeNs expires;
    Ticket ticket;
  };

  InstanceId self_;
  std::unordered_map<InstanceId, Client> clients_;
  std::vector<Peer> peers_;  // few, and short-lived; in the order of their expiry
};

}  // namespace sidecar
