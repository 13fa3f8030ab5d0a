// A group member's sends on its connection.
#include "client/parcel.h"
#include "tests/client/session_fixture.h"

namespace sidecar::client_internal {
namespace {

class SessionGroup : public SessionTest {
 protected:
  SendCall send_parcel(Parcel parcel) {
    Call<void> call = make<void>(OpKind::kSend, 10 * kSecond);
    auto captured = std::make_shared<detail::State<void>>(std::weak_ptr<detail::Driver>(), call.request);
    call.op->captured = captured;
    Message out(std::in_place_type<Send>);
    std::get<Send>(out).request = call.request;
    const ConstBytes payload = load(std::move(parcel), std::get<Send>(out), *call.op);
    session->start(std::move(call.op), out, payload);
    return {call.request, Future<void>(captured), std::move(call.future)};
  }
  SendCall send_tensor(const std::vector<std::byte>& bytes, const Place& place) {
    auto parcel = parcel_of(Tensor{bytes.data(), Dtype::kU8, {bytes.size()}}, bytes.size(), place);
    EXPECT_TRUE(parcel);
    return send_parcel(std::move(*parcel));
  }
  const Send& last_send() const { return std::get<Send>(transport.sent.back().message); }

  Buffer allocated(std::uint64_t offset) {
    auto call = allocate(4096);
    Reply with = reply(call.request);
    with.where = Where::kArena;
    with.arena = arena_info(kOwn);
    with.offset = offset;
    answer(with);
    auto buffer = call.future.get();
    EXPECT_TRUE(buffer);
    return std::move(*buffer);
  }
};

TEST_F(SessionGroup, AShardIsCapturedAndDeliveredLikeAnyPayload) {
  link_up();
  const std::vector<std::byte> source(300'000);
  SendCall call = send_tensor(source, {1, 2, true});
  EXPECT_EQ(last_send().shard, 1);
  EXPECT_EQ(last_send().shards, 2);
  EXPECT_EQ(transport.sent.back().payload.data(), source.data() + 150'016);
  EXPECT_EQ(transport.sent.back().payload.size(), 149'984u);
  EXPECT_TRUE(transport.sent.back().rendezvous);
  session->on_sent(call.request, {});
  EXPECT_FALSE(call.captured.ready());
  answer(reply(call.request, Errc::kOk, Stage::kCaptured));
  EXPECT_TRUE(call.captured.get());
  EXPECT_FALSE(call.delivered.ready());  // the other members' shards are still missing
  answer(reply(call.request));
  EXPECT_TRUE(call.delivered.get());
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionGroup, AnEmptyShardIsCapturedAtOnceAndDeliveredWithTheOthers) {
  link_up();
  const std::vector<std::byte> source(10);
  SendCall call = send_tensor(source, {1, 2, true});
  EXPECT_EQ(last_send().source, Source::kPayload);
  EXPECT_EQ(last_send().shards, 2);
  EXPECT_TRUE(transport.sent.back().payload.empty());
  EXPECT_TRUE(call.captured.get());
  EXPECT_FALSE(call.delivered.ready());
  answer(reply(call.request, Errc::kOk, Stage::kCaptured));  // says nothing new
  EXPECT_FALSE(call.delivered.ready());
  answer(reply(call.request));
  EXPECT_TRUE(call.delivered.get());
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionGroup, WhatFailsForOneShardNamesTheRanks) {
  link_up();
  const std::vector<std::byte> source(100'000);
  SendCall call = send_tensor(source, {0, 2, true});
  Reply with = reply(call.request, Errc::kPeerLost);
  with.failures = 1;
  with.failed_rank[0] = 9;
  with.failed_code[0] = Errc::kPeerLost;
  answer(with);
  EXPECT_FALSE(call.captured.ready());  // the transport still reads the slice
  session->on_sent(call.request, {});
  EXPECT_EQ(call.captured.get().code(), Errc::kPeerLost);
  ASSERT_EQ(call.delivered.get().error().failed.size(), 1u);
}

TEST_F(SessionGroup, NothingIsSentAndCapturedAtOnceWhereAnotherMemberCopies) {
  link_up();
  const std::vector<std::byte> source(100'000);
  SendCall call = send_tensor(source, {1, 2, false});
  EXPECT_EQ(last_send().source, Source::kNothing);
  EXPECT_EQ(last_send().shards, 0);
  EXPECT_TRUE(transport.sent.back().payload.empty());
  EXPECT_TRUE(call.captured.get());
  EXPECT_FALSE(call.delivered.ready());
  answer(reply(call.request));
  EXPECT_TRUE(call.delivered.get());

  SendCall refused = send_tensor(source, {1, 2, false});
  answer(reply(refused.request, Errc::kInvalidArgument));
  EXPECT_EQ(refused.delivered.get().code(), Errc::kInvalidArgument);
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionGroup, TheFirstMembersBufferIsSentAndAnothersGivenBack) {
  link_up();
  ASSERT_TRUE(session->map_own_arena(arena_info(kOwn)));
  Buffer first = allocated(8192);
  SendCall sent = send_parcel(parcel_of(std::move(first), *keeper, {0, 2, true}));
  EXPECT_EQ(last_send().source, Source::kSlot);
  EXPECT_EQ(last_send().slot, 8192u);
  Buffer second = allocated(65536);
  SendCall nothing = send_parcel(parcel_of(std::move(second), *keeper, {1, 2, true}));
  EXPECT_FALSE(second.valid());  // NOLINT(bugprone-use-after-move): that is the promise
  EXPECT_EQ(last_send().source, Source::kNothing);
  EXPECT_EQ(last_send().slot, 0u);
  for (const SendCall* call : {&sent, &nothing}) {
    EXPECT_TRUE(call->captured.ready());
    answer(reply(call->request));
    EXPECT_TRUE(call->delivered.ready());
  }
  session->step();
  const auto releases = transport.all<Release>();
  ASSERT_EQ(releases.size(), 1u);
  ASSERT_EQ(releases[0].slots, 1);
  EXPECT_EQ(releases[0].slot[0], 65536u);
}

TEST_F(SessionGroup, PrivateBuffersGoTheSameWayAsThoseInTheArena) {
  link_up();
  const auto made = [] { return Session::private_buffer(Dtype::kU8, {2000}, 2000); };
  static_cast<void>(send_parcel(parcel_of(made(), *keeper, {1, 2, true})));
  EXPECT_EQ(last_send().source, Source::kNothing);
  SendCall first = send_parcel(parcel_of(made(), *keeper, {0, 2, true}));
  EXPECT_EQ(last_send().source, Source::kPayload);
  EXPECT_EQ(last_send().shards, 0);
  EXPECT_EQ(transport.sent.back().payload.size(), 2000u);
  session->on_sent(first.request, {});
  answer(reply(first.request));
  EXPECT_TRUE(first.delivered.get());
}

}  // namespace
}  // namespace sidecar::client_internal
