// Large sends of the caller's memory, which the session copies into the sidecar's arena itself.
#include "tests/client/session_fixture.h"

namespace sidecar::client_internal {
namespace {

class SessionFill : public SessionTest {
 protected:
  static constexpr std::uint64_t kBytes = 600'000;  // in three pieces
  static constexpr std::uint64_t kSlot = 4096;

  SessionFill() {
    for (std::size_t i = 0; i < source_.size(); ++i) source_[i] = static_cast<std::byte>(i % 251);
    link_up();
    EXPECT_TRUE(session->map_own_arena(arena_info(kOwn)));
  }
  void give_room(RequestId request, std::uint64_t offset = kSlot) {
    Reply room = reply(request, Errc::kOk, Stage::kRoom);
    room.where = Where::kArena;
    room.arena = arena_info(kOwn);
    room.offset = offset;
    answer(room);
  }
  void copy_all() {
    while (session->step()) {
    }
  }
  std::size_t slots_released() {
    std::size_t count = 0;
    for (const Release& release : transport.all<Release>()) count += release.slots;
    return count;
  }
  bool arrived(std::uint64_t at = kSlot) {
    return std::ranges::equal(source_, std::span(*arena).subspan(at, kBytes));
  }
  std::vector<std::byte> source_ = std::vector<std::byte>(kBytes);
};

TEST_F(SessionFill, IsCopiedWhereTheSidecarSaysAndCapturedThen) {
  SendCall call = send(source_);
  const SentMessage& asked = transport.sent.back();
  EXPECT_EQ(std::get<Send>(asked.message).source, Source::kFill);
  EXPECT_TRUE(asked.payload.empty());
  EXPECT_FALSE(session->step()) << "there is no room yet";
  give_room(call.request);
  EXPECT_TRUE(session->step());
  EXPECT_FALSE(call.captured.ready());
  EXPECT_TRUE(transport.all<Filled>().empty());
  copy_all();
  ASSERT_EQ(transport.all<Filled>().size(), 1u);
  EXPECT_EQ(transport.all<Filled>()[0].slot, kSlot);
  EXPECT_TRUE(arrived());
  EXPECT_TRUE(call.captured.get());
  EXPECT_FALSE(call.delivered.ready());
  answer(reply(call.request));
  EXPECT_TRUE(call.delivered.get());
  EXPECT_EQ(session->under_way(), 0u);
  EXPECT_EQ(slots_released(), 0u);
}

TEST_F(SessionFill, APackedCopyGoesAsSoonAsItIsInTheArena) {
  const auto packed = std::make_shared<int>();
  owner = packed;
  SendCall call = send(source_);
  give_room(call.request);
  EXPECT_EQ(packed.use_count(), 2);
  copy_all();
  EXPECT_EQ(packed.use_count(), 1);
  answer(reply(call.request));
}

TEST_F(SessionFill, AShardGoesToItsPlaceInTheChunk) {
  Call<void> shard = make<void>(OpKind::kSend, kSecond);
  Message message(std::in_place_type<Send>);
  auto& out = std::get<Send>(message);
  out.request = shard.request;
  out.source = Source::kPayload;
  out.meta.bytes = 1'000'000;
  out.shard = 1;
  out.shards = 2;
  const Slice slice = shard_of(out.meta.bytes, 1, 2);
  session->start(std::move(shard.op), message, ConstBytes(source_).first(slice.bytes));
  give_room(shard.request);
  copy_all();
  EXPECT_TRUE(std::ranges::equal(ConstBytes(source_).first(slice.bytes),
                                 ConstBytes(*arena).subspan(kSlot + slice.begin, slice.bytes)));
  EXPECT_EQ((*arena)[kSlot], std::byte{0}) << "another member's";
  answer(reply(shard.request));
}

TEST_F(SessionFill, WhatIsSmallIsReadByTheSidecar) {
  SendCall call = send(ConstBytes(source_).first(100'000));
  EXPECT_EQ(std::get<Send>(transport.sent.back().message).source, Source::kPayload);
  EXPECT_TRUE(transport.sent.back().rendezvous);
  session->on_sent(call.request, {});
}

TEST_F(SessionFill, SeveralAreCopiedOneAfterTheOther) {
  arena->resize(2 << 20);
  EXPECT_TRUE(session->map_own_arena(arena_info(kOwn + 1, 2 << 20)));
  SendCall first = send(source_), second = send(source_);
  give_room(first.request, 1 << 20);
  give_room(second.request, 64);
  for (int i = 0; i < 3; ++i) session->step();
  EXPECT_TRUE(first.captured.ready());
  EXPECT_FALSE(second.captured.ready());
  copy_all();
  EXPECT_TRUE(arrived(1 << 20) && arrived(64));
  for (const RequestId request : {first.request, second.request}) answer(reply(request));
}

TEST_F(SessionFill, OneThatFailsBeforeThereIsRoomLeavesNothing) {
  SendCall call = send(source_);
  answer(reply(call.request, Errc::kNoSpace));
  EXPECT_EQ(call.captured.get().code(), Errc::kNoSpace);
  EXPECT_EQ(call.delivered.get().code(), Errc::kNoSpace);
  copy_all();
  EXPECT_EQ(slots_released(), 0u);
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionFill, OneThatFailsWhileItIsCopiedIsCopiedNoFurtherAndGivesItsPlaceUp) {
  SendCall call = send(source_);
  give_room(call.request);
  session->step();
  answer(reply(call.request, Errc::kTimeout));
  EXPECT_EQ(call.captured.get().code(), Errc::kTimeout);
  EXPECT_EQ(call.delivered.get().code(), Errc::kTimeout);
  copy_all();
  EXPECT_TRUE(transport.all<Filled>().empty());
  EXPECT_FALSE(arrived());
  EXPECT_EQ(slots_released(), 1u);
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionFill, OneThatFailsAfterItWasCopiedIsTheSidecars) {
  SendCall call = send(source_);
  give_room(call.request);
  copy_all();
  answer(reply(call.request, Errc::kPeerLost));
  EXPECT_TRUE(call.captured.get());
  EXPECT_EQ(call.delivered.get().code(), Errc::kPeerLost);
  copy_all();
  EXPECT_EQ(slots_released(), 0u);
}

TEST_F(SessionFill, ASidecarThatDoesNotAnswerCostsTheCallNotTheConnection) {
  SendCall call = send(source_);
  now += 13 * kSecond;
  session->on_timer(now);
  EXPECT_EQ(call.captured.get().code(), Errc::kTimeout);
  EXPECT_EQ(call.delivered.get().code(), Errc::kTimeout);
  EXPECT_EQ(transport.all<Cancel>().size(), 1u);
  EXPECT_EQ(transport.closed, 0) << "nobody reads the caller's memory";
  give_room(call.request);  // too late
  copy_all();
  EXPECT_EQ(slots_released(), 0u);
  EXPECT_TRUE(transport.all<Filled>().empty());
}

TEST_F(SessionFill, WhatIsEndedIsCancelledAtTheSidecarToo) {
  SendCall waits = send(source_), copies = send(source_);
  give_room(copies.request);
  session->end_all({Errc::kCancelled, kRank, "closed"});
  for (SendCall* call : {&waits, &copies}) {
    EXPECT_EQ(call->captured.get().code(), Errc::kCancelled);
    EXPECT_EQ(call->delivered.get().code(), Errc::kCancelled);
  }
  EXPECT_EQ(transport.all<Cancel>().size(), 2u);
  give_room(waits.request, 1024);  // crossed
  copy_all();
  EXPECT_EQ(slots_released(), 0u) << "given up by Cancel; by now the place may be another call's";
  EXPECT_TRUE(transport.all<Filled>().empty());
}

TEST_F(SessionFill, OneThatIsCancelledIsCopiedNoFurther) {
  SendCall call = send(source_);
  give_room(call.request);
  session->step();
  session->cancel(call.request);
  copy_all();
  EXPECT_FALSE(arrived());
  EXPECT_FALSE(call.captured.ready());
  answer(reply(call.request, Errc::kCancelled));
  EXPECT_EQ(call.captured.get().code(), Errc::kCancelled);
  copy_all();
  EXPECT_EQ(slots_released(), 0u);
  EXPECT_TRUE(transport.all<Filled>().empty());
}

TEST_F(SessionFill, RoomOutsideTheArenaIsNotWrittenTo) {
  for (const std::uint64_t offset : {std::uint64_t{(1 << 20) - 64}, ~std::uint64_t{0}}) {
    SendCall call = send(source_);
    give_room(call.request, offset);
    copy_all();
    EXPECT_EQ(call.delivered.get().code(), Errc::kProtocol);
  }
  EXPECT_EQ(transport.all<Cancel>().size(), 2u);
}

TEST_F(SessionFill, NothingIsWrittenOnceTheConnectionIsLost) {
  SendCall call = send(source_);
  give_room(call.request);
  session->step();
  session->on_link_down(link(), Error{Errc::kIo, kNoRank, "over"});
  EXPECT_EQ(call.captured.get().code(), Errc::kPeerLost);
  std::ranges::fill(*arena, std::byte{0});
  copy_all();
  link_up();
  copy_all();
  EXPECT_TRUE(std::ranges::all_of(*arena, [](std::byte b) { return b == std::byte{0}; }));
  EXPECT_EQ(slots_released(), 0u) << "it was the connection's before";
}

TEST_F(SessionFill, ACallbackMayStartTheNextOne) {
  SendCall first = send(source_);
  std::optional<SendCall> second;
  first.captured.then([&](const Expected<void>&) { second = send(source_); });
  give_room(first.request);
  copy_all();
  ASSERT_TRUE(second);
  give_room(second->request, 65536);
  copy_all();
  EXPECT_TRUE(arrived(65536));
  for (const RequestId request : {first.request, second->request}) answer(reply(request));
  EXPECT_EQ(session->under_way(), 0u);
}

class SessionFillsNothing : public SessionTest {};

TEST_F(SessionFillsNothing, WithAnOlderSidecarOrWithoutItsArena) {
  const std::vector<std::byte> source(1 << 20);
  const auto is_read = [&] {
    SendCall call = send(source);
    EXPECT_EQ(std::get<Send>(transport.sent.back().message).source, Source::kPayload);
    session->on_sent(call.request, {});
    answer(reply(call.request));
  };
  link_up(kFillVersion - 1);
  EXPECT_TRUE(session->map_own_arena(arena_info(kOwn)));
  is_read();
  session->on_link_down(link(), Error{Errc::kIo, kNoRank, "over"});
  mappable = false;
  link_up();
  EXPECT_FALSE(session->map_own_arena(arena_info(kOwn + 1)));
  is_read();
}

}  // namespace
}  // namespace sidecar::client_internal
