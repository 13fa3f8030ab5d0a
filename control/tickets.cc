#include "control/tickets.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "core/check.h"

namespace sidecar {
namespace {

// Takes the same time wherever the first difference is, so that a ticket cannot be guessed digit by digit.
bool equal_in_constant_time(const Ticket& a, const Ticket& b) {
  if (a.size() != b.size() || a.empty()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned>(a.view()[i]) ^ static_cast<unsigned>(b.view()[i]);
  }
  return difference == 0;
}

}  // namespace

Ticket Tickets::random() {
  std::array<unsigned char, 16> bits;
  ssize_t got = 0;
  do {
    got = getrandom(bits.data(), bits.size(), 0);
  } while (got < 0 && errno == EINTR);
  CHECK(got == static_cast<ssize_t>(bits.size()));
  std::array<char, 32> text;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    text[2 * i] = "0123456789abcdef"[bits[i] >> 4];
    text[2 * i + 1] = "0123456789abcdef"[bits[i] & 15];
  }
  return Ticket(std::string_view(text.data(), text.size()));
}

Status Tickets::room_for(InstanceId client) const {
  if (!full() || clients_.contains(client)) return {};
  return fail(Errc::kNoSpace, "too many clients are registered here", kNoRank, clients_.size(), kClientsMax);
}

Ticket Tickets::issue_client(InstanceId client, Rank rank) {
  CHECK(room_for(client));
  const Ticket ticket = random();
  clients_.insert_or_assign(client, Client{rank, ticket});
  return ticket;
}

bool Tickets::owns(InstanceId client, const Ticket& ticket) const {
  const auto it = clients_.find(client);
  return it != clients_.end() && equal_in_constant_time(it->second.ticket, ticket);
}

Result<Ticket> Tickets::issue_peer(InstanceId from_instance, Rank from_rank, TimeNs now) {
  std::erase_if(peers_, [now](const Peer& peer) { return peer.expires <= now; });
  // Whoever asks again and again in one rank's name takes nothing from the others.
  const auto of_rank = [from_rank](const Peer& peer) { return peer.rank == from_rank; };
  if (std::ranges::count_if(peers_, of_rank) >= static_cast<std::ptrdiff_t>(kPeerTicketsOfRank))
    peers_.erase(std::ranges::find_if(peers_, of_rank));
  if (peers_.size() >= kPeerTicketsMax) {
    return fail(Errc::kNoSpace, "too many peers were given a ticket and did not connect", from_rank,
                peers_.size(), kPeerTicketsMax);
  }
  peers_.push_back(Peer{from_instance, from_rank, now + kPeerTicketNs, random()});
  return peers_.back().ticket;
}

Status Tickets::redeem(const Hello& hello, TimeNs now) {
  if (hello.to_instance != self_) {
    return fail(Errc::kUnauthorized, "Hello is meant for another instance of this sidecar", hello.rank);
  }
  if (hello.role == Role::kClient) {
    const auto it = clients_.find(hello.instance);
    if (it == clients_.end()) return fail(Errc::kUnauthorized, "the client is not registered", hello.rank);
    if (it->second.rank != hello.rank || !equal_in_constant_time(it->second.ticket, hello.ticket)) {
      return fail(Errc::kUnauthorized, "the ticket is not this client's", hello.rank);
    }
    return {};
  }
  const auto it = std::find_if(peers_.begin(), peers_.end(), [&](const Peer& peer) {
    return peer.instance == hello.instance && equal_in_constant_time(peer.ticket, hello.ticket);
  });
  if (it == peers_.end())
    return fail(Errc::kUnauthorized, "the peer's ticket is unknown or was used", hello.rank);
  const Peer found = std::move(*it);
  peers_.erase(it);
  if (found.expires <= now) return fail(Errc::kUnauthorized, "the peer's ticket has expired", hello.rank);
  if (found.rank != hello.rank) return fail(Errc::kUnauthorized, "the ticket is another rank's", hello.rank);
  return {};
}

}  // namespace sidecar
