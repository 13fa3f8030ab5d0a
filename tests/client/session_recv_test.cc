#include "tests/client/session_fixture.h"

namespace sidecar::client_internal {
namespace {

using SessionRecv = SessionTest;

TEST_F(SessionRecv, AViewLooksStraightIntoTheArena) {
  link_up();
  (*arena)[4096] = std::byte{42};
  auto call = recv("id");
  Reply answer_with = arena_reply(call.request, kOwn, 4096, 64, 900);
  answer_with.meta.dtype = Dtype::kF32;
  answer_with.meta.shape.extent[0] = 16;
  answer(answer_with);
  ASSERT_TRUE(call.future.ready());
  const Expected<View> view = call.future.get();
  ASSERT_TRUE(view) << to_string(view.error());
  EXPECT_EQ(view->data(), arena->data() + 4096);
  EXPECT_EQ(view->size_bytes(), 64u);
  EXPECT_EQ(view->dtype(), Dtype::kF32);
  EXPECT_EQ(view->shape(), std::vector<std::uint64_t>{16});
  EXPECT_EQ(view->num_chunks(), 4u);
  EXPECT_TRUE(view->is_shared());
  EXPECT_EQ(view->writable_data(), nullptr);
  EXPECT_EQ(view->bytes()[0], std::byte{42});
}

TEST_F(SessionRecv, TheLastCopyOfAViewGivesItUpOnce) {
  link_up();
  auto call = recv("id");
  answer(arena_reply(call.request, kOwn, 0, 64, 900));
  {
    const View view = *call.future.get();
    const View copy = view;
    session->step();
    EXPECT_TRUE(transport.all<Release>().empty());
  }
  session->step();
  session->step();
  const auto releases = transport.all<Release>();
  ASSERT_EQ(releases.size(), 1u);
  ASSERT_EQ(releases[0].views, 1);
  EXPECT_EQ(releases[0].view[0], 900u);
  EXPECT_EQ(releases[0].count[0], 1u);
}

TEST_F(SessionRecv, ReleasesTravelTogetherAndARepeatedViewIsCounted) {
  link_up();
  std::vector<View> views;
  for (std::uint64_t i = 0; i < 300; ++i) {
    auto call = recv("id");
    answer(arena_reply(call.request, kOwn, 0, 64, 1000 + i / 2));  // every grant twice
    views.push_back(*call.future.get());
  }
  EXPECT_EQ(maps_tried, 1);
  views.clear();
  session->step();
  std::vector<std::uint32_t> counts(150, 0);
  const auto releases = transport.all<Release>();
  EXPECT_EQ(releases.size(), 2u);  // 150 different ones, at most 128 in a message
  for (const Release& release : releases) {
    ASSERT_LE(release.views, kReleasesMax);
    for (std::size_t i = 0; i < release.views; ++i) counts.at(release.view[i] - 1000) += release.count[i];
  }
  EXPECT_EQ(counts, std::vector<std::uint32_t>(150, 2));
}

TEST_F(SessionRecv, InlineBytesAreTheViewsOwn) {
  link_up();
  auto call = recv("id");
  Reply with = chunk_reply(call.request, Where::kInline, 5);
  with.meta.kind = ChunkKind::kObject;
  with.meta.codec = 7;
  with.inline_bytes = 5;
  std::memcpy(with.inline_data.data(), "hello", 5);
  answer(with);
  const Expected<View> view = call.future.get();
  ASSERT_TRUE(view);
  EXPECT_TRUE(view->is_object());
  EXPECT_FALSE(view->is_shared());
  EXPECT_EQ(view->codec(), 7u);
  EXPECT_EQ(std::memcmp(view->data(), "hello", 5), 0);
  session->step();
  EXPECT_TRUE(transport.all<Release>().empty());
}

TEST_F(SessionRecv, AChunkWithoutElementsIsAViewWithoutBytes) {
  link_up();
  auto call = recv("id");
  answer(chunk_reply(call.request, Where::kInline, 0));
  const Expected<View> view = call.future.get();
  ASSERT_TRUE(view);
  EXPECT_FALSE(view->end_of_stream());
  EXPECT_EQ(view->size_bytes(), 0u);
}

TEST_F(SessionRecv, APayloadIsReceivedIntoTheViewsOwnMemory) {
  link_up();
  auto call = recv("id");
  answer(chunk_reply(call.request, Where::kPayload, 1000), payload(1000));
  EXPECT_FALSE(call.future.ready());
  ASSERT_EQ(transport.receiving.size(), 1u);
  ASSERT_EQ(transport.receiving[0].into.size(), 1000u);
  std::fill(transport.receiving[0].into.begin(), transport.receiving[0].into.end(), std::byte{9});
  session->on_received(transport.receiving[0].token, {});
  const Expected<View> view = call.future.get();
  ASSERT_TRUE(view);
  EXPECT_EQ(view->bytes()[999], std::byte{9});
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionRecv, APayloadThatBreaksOffIsALostPeer) {
  link_up();
  auto call = recv("id");
  answer(chunk_reply(call.request, Where::kPayload, 1000), payload(1000));
  session->on_received(transport.receiving.at(0).token, fail(Errc::kIo, "reset"));
  const Expected<View> view = call.future.get();
  EXPECT_EQ(view.code(), Errc::kPeerLost);
  EXPECT_EQ(view.error().rank, kRank);
}

TEST_F(SessionRecv, APayloadOfAnotherLengthIsRefused) {
  link_up();
  auto call = recv("id");
  answer(chunk_reply(call.request, Where::kPayload, 1000), payload(999));
  EXPECT_EQ(call.future.get().code(), Errc::kProtocol);
  EXPECT_TRUE(transport.receiving.empty());
  EXPECT_EQ(transport.discarded.size(), 1u);
}

TEST_F(SessionRecv, AnArenaThatCannotBeMappedIsAskedForByValueWithTheTimeThatIsLeft) {
  mappable = false;
  link_up();
  auto call = recv("id", 2, 10 * kSecond);
  now += 4 * kSecond;
  answer(arena_reply(call.request, 77, 0, 64, 900));
  EXPECT_FALSE(call.future.ready());
  session->step();
  ASSERT_EQ(transport.all<Release>().size(), 1u);
  EXPECT_EQ(transport.all<Release>()[0].view[0], 900u);
  const auto asked = transport.all<Recv>();
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_FALSE(asked[0].by_value);
  EXPECT_TRUE(asked[1].by_value);
  EXPECT_EQ(asked[1].request, call.request);
  EXPECT_EQ(asked[1].id, DataId("id"));
  EXPECT_EQ(asked[1].chunk, 2u);
  EXPECT_EQ(asked[1].timeout_ns, 6 * kSecond);
  answer(chunk_reply(call.request, Where::kPayload, 64), payload(64));
  session->on_received(transport.receiving.at(0).token, {});
  EXPECT_TRUE(call.future.get());
  // It is not tried again for the next chunk.
  auto next = recv("id", 3);
  answer(arena_reply(next.request, 77, 0, 64, 901));
  EXPECT_EQ(transport.all<Recv>().back().by_value, true);
}

TEST_F(SessionRecv, AChunkOutsideItsArenaIsRefusedAndGivenBack) {
  link_up();
  for (const auto& [offset, bytes] : {std::pair<std::uint64_t, std::uint64_t>{(1 << 20) - 63, 64},
                                      {(1 << 20) + 1, 0 + 1},
                                      {~std::uint64_t{0}, 64},
                                      {64, ~std::uint64_t{0}}}) {
    auto call = recv("id");
    answer(arena_reply(call.request, kOwn, offset, bytes, 900));
    EXPECT_EQ(call.future.get().code(), Errc::kProtocol);
  }
  session->step();
  ASSERT_EQ(transport.all<Release>().size(), 1u);
  EXPECT_EQ(transport.all<Release>()[0].count[0], 4u);
}

TEST_F(SessionRecv, PastTheEndIsAViewThatSaysSo) {
  link_up();
  auto call = recv("id", 4);
  answer(reply(call.request, Errc::kEndOfStream));
  const Expected<View> view = call.future.get();
  ASSERT_TRUE(view);
  EXPECT_TRUE(view->end_of_stream());
}

TEST_F(SessionRecv, ErrorsCarryCodeRankAndText) {
  link_up();
  auto call = recv("id");
  Reply with = reply(call.request, Errc::kPeerLost);
  with.rank = 9;
  with.text = Text("recv: the producer was lost");
  answer(with);
  const Expected<View> view = call.future.get();
  ASSERT_FALSE(view);
  EXPECT_EQ(view.error().code, Errc::kPeerLost);
  EXPECT_EQ(view.error().rank, 9);
  EXPECT_EQ(to_string(view.error()), "PeerLost: recv: the producer was lost (rank 9)");
}

TEST_F(SessionRecv, AnAnswerAfterTheDeadlineGivesBackWhatItGrants) {
  link_up();
  auto call = recv("id", 0, kSecond);
  auto bytes = recv("id", 1, kSecond);
  auto slot = allocate(64);
  now += 13 * kSecond;
  session->on_timer(now);
  EXPECT_EQ(call.future.get().code(), Errc::kTimeout);
  EXPECT_EQ(bytes.future.get().code(), Errc::kTimeout);
  EXPECT_EQ(slot.future.get().code(), Errc::kTimeout);
  answer(arena_reply(call.request, kOwn, 0, 64, 900));
  answer(chunk_reply(bytes.request, Where::kPayload, 64), payload(64));
  Reply allocated = reply(slot.request);
  allocated.where = Where::kArena;
  allocated.offset = 4096;
  answer(allocated);
  session->step();
  EXPECT_EQ(transport.discarded.size(), 1u);
  const auto releases = transport.all<Release>();
  ASSERT_EQ(releases.size(), 1u);
  ASSERT_EQ(releases[0].views, 1);
  EXPECT_EQ(releases[0].view[0], 900u);
  ASSERT_EQ(releases[0].slots, 1);
  EXPECT_EQ(releases[0].slot[0], 4096u);
}

TEST_F(SessionRecv, AFutureNobodyKeptGivesItsViewUp) {
  link_up();
  const RequestId request = recv("id").request;
  answer(arena_reply(request, kOwn, 0, 64, 900));
  session->step();
  EXPECT_EQ(transport.all<Release>().size(), 1u);
}

TEST_F(SessionRecv, MappingsOfArenasThatAreGoneAreDroppedWhenNobodyLooks) {
  Mappings mappings([this](const ArenaInfo&, bool) -> Result<MappedRegion> {
    return MappedRegion{arena->data(), nullptr, 64, std::make_shared<int>()};
  });
  ArenaInfo gone = arena_info(1);
  gone.path = Name("/nonexistent/sidecar-1");
  std::shared_ptr<void> used = mappings.get(gone, false)->keep;
  ASSERT_NE(mappings.get(arena_info(2), false), nullptr);
  EXPECT_EQ(mappings.size(), 2u);
  used = nullptr;
  ASSERT_NE(mappings.get(arena_info(3), false), nullptr);
  EXPECT_EQ(mappings.size(), 2u);  // 2 and 3
}

}  // namespace
}  // namespace sidecar::client_internal
