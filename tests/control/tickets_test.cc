#include "control/tickets.h"

#include <gtest/gtest.h>

#include <cctype>
#include <set>
#include <string>

namespace sidecar {
namespace {

constexpr InstanceId kSelf = 77;

Hello hello_of(Role role, InstanceId instance, Rank rank, const Ticket& ticket) {
  Hello hello;
  hello.role = role;
  hello.instance = instance;
  hello.to_instance = kSelf;
  hello.rank = rank;
  hello.ticket = ticket;
  return hello;
}

TEST(Tickets, AreLongAndNeverTheSame) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string text(Tickets::random().view());
    EXPECT_EQ(text.size(), 32u);
    for (const char c : text) EXPECT_TRUE(std::isxdigit(static_cast<unsigned char>(c)));
    EXPECT_TRUE(seen.insert(text).second);
  }
}

TEST(Tickets, AClientsTicketServesEveryReconnection) {
  Tickets tickets(kSelf);
  const Hello hello = hello_of(Role::kClient, 5, 2, tickets.issue_client(5, 2));
  EXPECT_TRUE(tickets.redeem(hello, 0));
  EXPECT_TRUE(tickets.redeem(hello, 3600 * kSecond));
}

TEST(Tickets, AClientsTicketFitsThatClientOnly) {
  Tickets tickets(kSelf);
  const Ticket ticket = tickets.issue_client(5, 2);
  const Ticket others = tickets.issue_client(6, 2);
  const auto code = [&](const Hello& hello) {
    const Status status = tickets.redeem(hello, 0);
    return status ? Errc::kOk : status.error().code;
  };
  EXPECT_EQ(code(hello_of(Role::kClient, 7, 2, ticket)), Errc::kUnauthorized);
  EXPECT_EQ(code(hello_of(Role::kClient, 5, 3, ticket)), Errc::kUnauthorized);
  EXPECT_EQ(code(hello_of(Role::kClient, 5, 2, others)), Errc::kUnauthorized);
  EXPECT_EQ(code(hello_of(Role::kClient, 5, 2, Ticket())), Errc::kUnauthorized);
  EXPECT_EQ(code(hello_of(Role::kPeer, 5, 2, ticket)), Errc::kUnauthorized);
  Hello elsewhere = hello_of(Role::kClient, 5, 2, ticket);
  elsewhere.to_instance = kSelf + 1;
  EXPECT_EQ(code(elsewhere), Errc::kUnauthorized);
  std::string shortened(ticket.view());
  shortened.pop_back();
  EXPECT_EQ(code(hello_of(Role::kClient, 5, 2, Ticket(shortened))), Errc::kUnauthorized);
  EXPECT_EQ(code(hello_of(Role::kClient, 5, 2, ticket)), Errc::kOk);
}

TEST(Tickets, RegisteringAgainReplacesTheTicket) {
  Tickets tickets(kSelf);
  const Ticket first = tickets.issue_client(5, 2);
  const Ticket second = tickets.issue_client(5, 2);
  EXPECT_FALSE(tickets.redeem(hello_of(Role::kClient, 5, 2, first), 0));
  EXPECT_TRUE(tickets.redeem(hello_of(Role::kClient, 5, 2, second), 0));
  EXPECT_FALSE(tickets.owns(5, first));
  EXPECT_TRUE(tickets.owns(5, second));
}

TEST(Tickets, ARevokedClientHasNone) {
  Tickets tickets(kSelf);
  const Ticket ticket = tickets.issue_client(5, 2);
  tickets.revoke_client(5);
  EXPECT_FALSE(tickets.redeem(hello_of(Role::kClient, 5, 2, ticket), 0));
  EXPECT_FALSE(tickets.owns(5, ticket));
}

TEST(Tickets, APeersTicketIsForOneUse) {
  Tickets tickets(kSelf);
  const Hello hello = hello_of(Role::kPeer, 9, 1, *tickets.issue_peer(9, 1, 0));
  EXPECT_TRUE(tickets.redeem(hello, kSecond));
  EXPECT_FALSE(tickets.redeem(hello, kSecond));
}

TEST(Tickets, APeersTicketExpires) {
  Tickets tickets(kSelf);
  const Ticket ticket = *tickets.issue_peer(9, 1, 0);
  EXPECT_FALSE(tickets.redeem(hello_of(Role::kPeer, 9, 1, ticket), Tickets::kPeerTicketNs));
  const Ticket fresh = *tickets.issue_peer(9, 1, kSecond);
  EXPECT_TRUE(tickets.redeem(hello_of(Role::kPeer, 9, 1, fresh), Tickets::kPeerTicketNs));
}

TEST(Tickets, APeersTicketIsBoundToBothInstances) {
  Tickets tickets(kSelf);
  const Ticket ticket = *tickets.issue_peer(9, 1, 0);
  EXPECT_FALSE(tickets.redeem(hello_of(Role::kPeer, 10, 1, ticket), 0));
  EXPECT_FALSE(tickets.redeem(hello_of(Role::kClient, 9, 1, ticket), 0));
  Hello elsewhere = hello_of(Role::kPeer, 9, 1, ticket);
  elsewhere.to_instance = kSelf + 1;
  EXPECT_FALSE(tickets.redeem(elsewhere, 0));
  EXPECT_TRUE(tickets.redeem(hello_of(Role::kPeer, 9, 1, ticket), 0)) << "wrong guesses must not use it up";
}

TEST(Tickets, UnusedPeerTicketsAreBoundedAndTheBoundClears) {
  Tickets tickets(kSelf);
  const auto rank_of = [](std::size_t i) { return static_cast<Rank>(i / Tickets::kPeerTicketsOfRank); };
  for (std::size_t i = 0; i < Tickets::kPeerTicketsMax; ++i)
    ASSERT_TRUE(tickets.issue_peer(9, rank_of(i), 0));
  const auto refused = tickets.issue_peer(9, rank_of(Tickets::kPeerTicketsMax), kSecond);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kNoSpace);
  EXPECT_TRUE(tickets.issue_peer(9, 1, Tickets::kPeerTicketNs));
  EXPECT_EQ(tickets.unused_peer_tickets(), 1u);
}

TEST(Tickets, AFloodInOneRanksNameTakesNoOtherRanksTicket) {
  Tickets tickets(kSelf);
  const Ticket others = *tickets.issue_peer(9, 1, 0);
  Ticket last;
  for (InstanceId i = 0; i < 10'000; ++i) last = *tickets.issue_peer(i + 100, 2, 0);
  EXPECT_EQ(tickets.unused_peer_tickets(), 1 + Tickets::kPeerTicketsOfRank);
  EXPECT_TRUE(tickets.redeem(hello_of(Role::kPeer, 9, 1, others), 0));
  EXPECT_TRUE(tickets.redeem(hello_of(Role::kPeer, 10'099, 2, last), 0));
}

TEST(Tickets, ThereIsRoomForSoManyClientsAndThoseThatAreRegisteredNoMoreLeaveIt) {
  Tickets tickets(kSelf);
  for (InstanceId i = 1; i <= Tickets::kClientsMax; ++i) {
    ASSERT_TRUE(tickets.room_for(i));
    (void)tickets.issue_client(i, 0);
  }
  const Status room = tickets.room_for(1'000'000);
  ASSERT_FALSE(room);
  EXPECT_EQ(room.error().code, Errc::kNoSpace);
  EXPECT_TRUE(tickets.room_for(5)) << "it has one";
  tickets.revoke_unless([](InstanceId client) { return client % 2 == 0; });
  EXPECT_EQ(tickets.clients(), Tickets::kClientsMax / 2);
  EXPECT_FALSE(tickets.knows(1));
  EXPECT_TRUE(tickets.room_for(1'000'000));
}

}  // namespace
}  // namespace sidecar
