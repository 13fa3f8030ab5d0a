#include "tests/client/session_fixture.h"

namespace sidecar::client_internal {
namespace {

using SessionSend = SessionTest;

TEST_F(SessionSend, InlineBytesAreCapturedAtOnceAndDeliveredByTheReply) {
  link_up();
  SendCall call = send({}, Source::kInline);
  EXPECT_TRUE(call.captured.get());
  EXPECT_FALSE(call.delivered.ready());
  answer(reply(call.request));
  EXPECT_TRUE(call.delivered.get());
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionSend, APayloadIsCapturedWhenTheSidecarHasItAndTheTransportIsThroughWithIt) {
  link_up();
  const std::vector<std::byte> source(100'000);
  SendCall first = send(source);
  answer(reply(first.request, Errc::kOk, Stage::kCaptured));
  EXPECT_FALSE(first.captured.ready());  // the transport may still read
  session->on_sent(first.request, {});
  EXPECT_TRUE(first.captured.get());
  EXPECT_FALSE(first.delivered.ready());
  answer(reply(first.request));
  EXPECT_TRUE(first.delivered.get());

  SendCall second = send(source);
  session->on_sent(second.request, {});
  EXPECT_FALSE(second.captured.ready());  // the sidecar may still die before it has it
  answer(reply(second.request, Errc::kOk, Stage::kCaptured));
  EXPECT_TRUE(second.captured.get());
}

TEST_F(SessionSend, GpuMemoryIsCapturedWhenTheSidecarSaysSoAndItsEventIsFreeThen) {
  link_up();
  const auto event = std::make_shared<int>();
  owner = event;
  SendCall call = send({}, Source::kDevice);
  EXPECT_FALSE(call.captured.ready());
  EXPECT_EQ(event.use_count(), 2);
  answer(reply(call.request, Errc::kOk, Stage::kCaptured));
  EXPECT_TRUE(call.captured.get());
  EXPECT_EQ(event.use_count(), 1);
  EXPECT_FALSE(call.delivered.ready());
  answer(reply(call.request));
  EXPECT_TRUE(call.delivered.get());

  owner = event;
  SendCall failed = send({}, Source::kDevice);
  answer(reply(failed.request, Errc::kIo));
  EXPECT_EQ(failed.captured.get().code(), Errc::kIo);
  EXPECT_EQ(failed.delivered.get().code(), Errc::kIo);
  EXPECT_EQ(event.use_count(), 1);

  owner = event;
  SendCall at_once = send({}, Source::kDevice);  // its final reply may be the only one
  answer(reply(at_once.request));
  EXPECT_TRUE(at_once.captured.get());
  EXPECT_EQ(event.use_count(), 1);
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionSend, AnOlderSidecarIsNotSentWhatItCannotRead) {
  link_up(kGroupsVersion - 1);
  for (const Source source : {Source::kNothing, Source::kDevice}) {
    SendCall call = send({}, source);
    EXPECT_EQ(call.captured.get().code(), Errc::kUnavailable);
    const auto refused = call.delivered.get();
    EXPECT_EQ(refused.code(), Errc::kUnavailable);
    EXPECT_NE(refused.error().message.find("older"), std::string::npos);
  }
  Call<void> shard = make<void>(OpKind::kSend, kSecond);
  Message message(std::in_place_type<Send>);
  std::get<Send>(message).request = shard.request;
  std::get<Send>(message).source = Source::kPayload;
  std::get<Send>(message).shards = 2;
  const std::vector<std::byte> source(1000);
  session->start(std::move(shard.op), message, source);
  EXPECT_EQ(shard.future.get().code(), Errc::kUnavailable);
  EXPECT_TRUE(transport.sent.empty());
  EXPECT_EQ(session->under_way(), 0u);

  SendCall plain = send({}, Source::kInline);
  answer(reply(plain.request));
  EXPECT_TRUE(plain.delivered.get());
}

TEST_F(SessionSend, AFailureWaitsUntilTheTransportIsThroughWithTheCallersMemory) {
  link_up();
  const std::vector<std::byte> source(100'000);
  SendCall call = send(source);
  Reply with = reply(call.request, Errc::kAlreadyExists);
  with.failures = 2;
  with.failed_rank[0] = 4;
  with.failed_code[0] = Errc::kAlreadyExists;
  with.failed_rank[1] = 6;
  with.failed_code[1] = Errc::kPeerLost;
  answer(with);
  EXPECT_FALSE(call.captured.ready());
  EXPECT_FALSE(call.delivered.ready());
  session->on_sent(call.request, {});
  EXPECT_EQ(call.captured.get().code(), Errc::kAlreadyExists);
  const Expected<void> delivered = call.delivered.get();
  ASSERT_EQ(delivered.error().failed.size(), 2u);
  EXPECT_EQ(delivered.error().failed[1].rank, 6);
  EXPECT_EQ(delivered.error().failed[1].code, Errc::kPeerLost);
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionSend, SmallPayloadsAreEagerWhileThereIsCredit) {
  link_up();
  const std::vector<std::byte> source(kEagerBytesMax);
  const std::size_t window = kEagerWindowBytes / kEagerBytesMax;
  for (std::size_t i = 0; i < window; ++i) {
    static_cast<void>(send(source));
    EXPECT_FALSE(transport.sent.back().rendezvous) << i;
  }
  static_cast<void>(send(source));
  EXPECT_TRUE(transport.sent.back().rendezvous);
  answer(Credit{kEagerBytesMax, false});
  static_cast<void>(send(source));
  EXPECT_FALSE(transport.sent.back().rendezvous);
  static_cast<void>(send(source));
  EXPECT_TRUE(transport.sent.back().rendezvous);
  // Credit for bytes that were never sent is not believed.
  answer(Credit{~std::uint64_t{0}, false});
  static_cast<void>(send(source));
  EXPECT_TRUE(transport.sent.back().rendezvous);
  session->on_link_down(link(), Error{Errc::kIo, kNoRank, "over"});
  for (const SentMessage& one : transport.sent) session->on_sent(one.token, {});
}

TEST_F(SessionSend, LargePayloadsAreAlwaysRendezvous) {
  link_up();
  const std::vector<std::byte> source(kEagerBytesMax + 1);
  SendCall call = send(source);
  EXPECT_TRUE(transport.sent.back().rendezvous);
  EXPECT_EQ(transport.sent.back().payload.data(), source.data());
}

TEST_F(SessionSend, AllocatedMemoryLiesInTheArenaAndIsGivenBackWhenNotSent) {
  link_up();
  ASSERT_TRUE(session->map_own_arena(arena_info(kOwn)));
  auto call = allocate(4096);
  Reply with = reply(call.request);
  with.where = Where::kArena;
  with.arena = arena_info(kOwn);
  with.offset = 8192;
  answer(with);
  {
    const Expected<Buffer> buffer = call.future.get();
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->data(), arena->data() + 8192);
    EXPECT_TRUE(buffer->in_arena());
    buffer->data()[0] = std::byte{1};
  }
  session->step();
  const auto releases = transport.all<Release>();
  ASSERT_EQ(releases.size(), 1u);
  ASSERT_EQ(releases[0].slots, 1);
  EXPECT_EQ(releases[0].slot[0], 8192u);
}

TEST_F(SessionSend, AnAllocationOutsideTheArenaIsRefused) {
  link_up();
  ASSERT_TRUE(session->map_own_arena(arena_info(kOwn)));
  for (const std::uint64_t offset : {std::uint64_t{(1 << 20) - 64}, ~std::uint64_t{0}}) {
    auto call = allocate(128);
    Reply with = reply(call.request);
    with.where = Where::kArena;
    with.offset = offset;
    answer(with);
    EXPECT_EQ(call.future.get().code(), Errc::kProtocol);
  }
}

TEST_F(SessionSend, ABufferRefusedAsAWholeIsGivenBackButNotOneThatTheSidecarTookOver) {
  link_up();
  SendCall refused = send({}, Source::kSlot, 64);
  answer(reply(refused.request, Errc::kInvalidArgument));
  EXPECT_EQ(refused.delivered.get().code(), Errc::kInvalidArgument);
  SendCall undelivered = send({}, Source::kSlot, 128);
  Reply with = reply(undelivered.request, Errc::kPeerLost);
  with.failures = 1;
  answer(with);
  EXPECT_EQ(undelivered.delivered.get().code(), Errc::kPeerLost);
  session->step();
  const auto releases = transport.all<Release>();
  ASSERT_EQ(releases.size(), 1u);
  ASSERT_EQ(releases[0].slots, 1);
  EXPECT_EQ(releases[0].slot[0], 64u);
}

TEST_F(SessionSend, PlainRequestsEndWithTheirReply) {
  link_up();
  auto good = mark_done("a");
  auto bad = mark_done("b");
  answer(reply(bad.request, Errc::kInvalidArgument));
  answer(reply(good.request));
  EXPECT_TRUE(good.future.get());
  EXPECT_EQ(bad.future.get().code(), Errc::kInvalidArgument);
}

}  // namespace
}  // namespace sidecar::client_internal
