// A session that connects again after its connection has ended: nothing of before is taken for something of
// now.
#include "tests/client/session_fixture.h"

namespace sidecar::client_internal {
namespace {

class SessionAgain : public SessionTest {
 protected:
  static constexpr InstanceId kNext = 12;  // the sidecar's arena after its restart

  void lose() { session->on_link_down(link(), Error{Errc::kIo, kNoRank, "connection reset"}); }
  Buffer allocated(std::uint64_t offset) {
    EXPECT_TRUE(session->map_own_arena(arena_info(kOwn)));
    auto call = allocate(64);
    Reply granted = reply(call.request);
    granted.where = Where::kArena;
    granted.offset = offset;
    answer(granted);
    return *call.future.get();
  }
};

TEST_F(SessionAgain, WorksOverTheNextConnection) {
  link_up();
  lose();
  link_up();
  EXPECT_TRUE(session->up());
  auto call = recv("id");
  answer(arena_reply(call.request, kNext, 0, 64, 7));
  EXPECT_TRUE(call.future.get());
}

TEST_F(SessionAgain, WhatIsLeftOfTheFirstConnectionDoesNotHurtTheSecond) {
  link_up();
  const LinkId first = link();
  lose();
  link_up();
  session->on_link_down(first, Error{Errc::kIo, kNoRank, "told twice"});
  session->on_message(first, reply(1), payload(10));
  EXPECT_TRUE(session->up());
  EXPECT_EQ(transport.discarded.size(), 1u);
}

TEST_F(SessionAgain, ViewsOfBeforeStayReadableAndAreNotGivenBackToTheNewOne) {
  link_up();
  auto before = recv("id");
  answer(arena_reply(before.request, kOwn, 0, 64, 900));
  View old = *before.future.get();
  lose();
  link_up();
  auto after = recv("id");
  answer(arena_reply(after.request, kNext, 0, 64, 900));  // the same number, for something else
  View view = *after.future.get();
  EXPECT_EQ(old.bytes().size(), 64u);
  old = View();
  session->step();
  EXPECT_TRUE(transport.all<Release>().empty());
  view = View();
  session->step();
  ASSERT_EQ(transport.all<Release>().size(), 1u);
  EXPECT_EQ(transport.all<Release>()[0].view[0], 900u);
  EXPECT_EQ(transport.all<Release>()[0].count[0], 1u);
}

TEST_F(SessionAgain, WhatWasToBeGivenUpOnTheFirstConnectionIsForgotten) {
  link_up();
  auto call = recv("id");
  answer(arena_reply(call.request, kOwn, 0, 64, 900));
  View view = *call.future.get();
  view = View();
  lose();
  link_up();
  session->step();
  EXPECT_TRUE(transport.all<Release>().empty());
}

TEST_F(SessionAgain, TheLastThatIsLeftOfAnEndedConnectionSaysSo) {
  link_up();
  auto call = recv("id");
  answer(arena_reply(call.request, kOwn, 0, 64, 900));
  View view = *call.future.get();
  Buffer buffer = allocated(4096);
  Buffer sent = allocated(8192);
  send({}, Source::kSlot, parcel_of(std::move(sent), *keeper, Place{}).slot);
  lose();
  EXPECT_TRUE(let_go.empty()) << "there is no other yet";
  link_up();
  EXPECT_TRUE(let_go.empty());
  view = View();
  EXPECT_TRUE(let_go.empty());
  buffer = Buffer();
  EXPECT_EQ(let_go, std::vector<InstanceId>{1});
  lose();
  link_up();
  EXPECT_EQ(let_go, (std::vector<InstanceId>{1, 2})) << "of which nothing was left";
  session = nullptr;
  EXPECT_EQ(let_go.size(), 2u) << "the connection that is there says goodbye";
}

TEST_F(SessionAgain, ABufferOfBeforeIsReadableButCannotBeSentNorGivenBack) {
  link_up();
  Buffer old = allocated(4096);
  Buffer unsent = allocated(8192);
  lose();
  link_up();
  Buffer fresh = allocated(4096);  // the same place, which is another buffer's now
  old.data()[0] = std::byte{1};
  const Parcel parcel = parcel_of(std::move(old), *keeper, Place{});
  EXPECT_EQ(parcel.source, Source::kSlot);
  slot_epoch = parcel.epoch;
  const std::size_t said = transport.sent.size();
  SendCall sent = send({}, Source::kSlot, parcel.slot);
  EXPECT_EQ(sent.captured.get().code(), Errc::kPeerLost);
  const auto refused = sent.delivered.get();
  EXPECT_EQ(refused.code(), Errc::kPeerLost);
  EXPECT_NE(refused.error().message.find("buffer"), std::string::npos) << refused.error().message;
  unsent = Buffer();
  session->step();
  EXPECT_EQ(transport.sent.size(), said) << "the sidecar of now has nothing to do with it";
  const Parcel good = parcel_of(std::move(fresh), *keeper, Place{});
  slot_epoch = good.epoch;
  send({}, Source::kSlot, good.slot);
  EXPECT_EQ(transport.all<Send>().size(), 1u);
}

TEST_F(SessionAgain, MemoryThatTheFirstConnectionStillReadsComesBackWhenItIsDone) {
  link_up();
  const std::vector<std::byte> source(1 << 20);
  SendCall old = send(source);
  lose();
  link_up();
  EXPECT_FALSE(old.delivered.ready());
  const auto fine = recv("id");
  session->on_sent(old.request, fail(Errc::kIo, "cancelled"));
  EXPECT_EQ(old.captured.get().code(), Errc::kPeerLost);
  EXPECT_EQ(old.delivered.get().code(), Errc::kPeerLost);
  EXPECT_TRUE(session->up());
  EXPECT_EQ(session->under_way(), 1u);
  answer(reply(fine.request, Errc::kTimeout));
}

TEST_F(SessionAgain, TheCreditBeginsAnew) {
  link_up();
  const std::vector<std::byte> source(64 << 10);
  for (std::uint64_t sent = 0; sent < kEagerWindowBytes; sent += source.size()) {
    send(source);
    EXPECT_FALSE(transport.sent.back().rendezvous);
  }
  send(source);
  EXPECT_TRUE(transport.sent.back().rendezvous);
  lose();
  link_up();
  send(source);
  EXPECT_FALSE(transport.sent.back().rendezvous);
  lose();
  for (const SentMessage& one : transport.sent) session->on_sent(one.token, fail(Errc::kIo, "cancelled"));
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionAgain, AnAttemptThatFailsMayBeRepeated) {
  link_up();
  lose();
  session->connect({true, false, Name("127.0.0.1:1")}, Hello{});
  session->on_link_down(link(), Error{Errc::kUnauthorized, kNoRank, "not registered"});
  EXPECT_EQ(session->why_down().code, Errc::kUnauthorized);
  link_up();
  EXPECT_TRUE(session->up());
}

TEST_F(SessionAgain, AnArenaThatCannotBeMappedNowIsNotTheOneOfBefore) {
  link_up();
  EXPECT_TRUE(session->map_own_arena(arena_info(kOwn)));
  lose();
  mappable = false;
  EXPECT_FALSE(session->map_own_arena(arena_info(kNext)));
  EXPECT_FALSE(session->maps_own_arena());
}

}  // namespace
}  // namespace sidecar::client_internal
