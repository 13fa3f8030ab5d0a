#include "tests/client/session_fixture.h"

namespace sidecar::client_internal {
namespace {

using SessionLink = SessionTest;

TEST_F(SessionLink, LosingTheSidecarEndsEveryCallWithPeerLostAndItsRank) {
  link_up();
  auto one = recv("id");
  auto two = mark_done("id");
  auto three = allocate(64);
  SendCall four = send({}, Source::kInline);
  session->on_link_down(link(), Error{Errc::kIo, kNoRank, "connection reset"});
  for (const Failure& failure : {one.future.get().error(), two.future.get().error(),
                                 three.future.get().error(), four.delivered.get().error()}) {
    EXPECT_EQ(failure.code, Errc::kPeerLost);
    EXPECT_EQ(failure.rank, kRank);
  }
  EXPECT_EQ(session->under_way(), 0u);
  EXPECT_FALSE(session->up());
  // And so do all that come later, without a word to the transport.
  const std::size_t said = transport.sent.size();
  EXPECT_EQ(recv("id").future.get().code(), Errc::kPeerLost);
  EXPECT_EQ(transport.sent.size(), said);
}

TEST_F(SessionLink, ACallWhoseAnswerCannotBeReadEndsWithProtocol) {
  link_up();
  auto mine = recv("id");
  auto other = recv("id");
  Message rest{Reply{}};
  std::get<Reply>(rest).request = mine.request;
  const Error why{Errc::kProtocol, kNoRank, "where: unknown", 0, 0};
  session->on_bad_message(link(), rest, payload(10), why);
  EXPECT_EQ(mine.future.get().code(), Errc::kProtocol);
  EXPECT_EQ(transport.discarded.size(), 1u);
  session->on_bad_message(link(), rest, {}, why);  // nobody waits for it any more
  session->on_bad_message(link(), Ping{}, {}, why);
  EXPECT_FALSE(other.future.ready());
  EXPECT_EQ(session->under_way(), 1u);
}

TEST_F(SessionLink, ASendWhoseMemoryIsInUseEndsWhenTheTransportLetsGo) {
  link_up();
  const std::vector<std::byte> source(1 << 20);
  SendCall call = send(source);
  session->on_link_down(link(), Error{Errc::kIo, kNoRank, "connection reset"});
  EXPECT_FALSE(call.delivered.ready());
  session->on_sent(call.request, fail(Errc::kIo, "cancelled"));
  EXPECT_EQ(call.captured.get().code(), Errc::kPeerLost);
  EXPECT_EQ(call.delivered.get().code(), Errc::kPeerLost);
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionLink, AReceiveUnderWayEndsAtOnceAndItsMemoryStaysUntilTheTransportLetsGo) {
  link_up();
  auto call = recv("id");
  answer(chunk_reply(call.request, Where::kPayload, 1000), payload(1000));
  session->on_link_down(link(), Error{Errc::kIo, kNoRank, "connection reset"});
  EXPECT_EQ(call.future.get().code(), Errc::kPeerLost);
  EXPECT_EQ(session->under_way(), 1u);
  std::fill(transport.receiving.at(0).into.begin(), transport.receiving.at(0).into.end(), std::byte{1});
  session->on_received(call.request, fail(Errc::kIo, "cancelled"));
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionLink, AGoodbyeFromTheSidecarEndsEverything) {
  link_up();
  auto call = recv("id");
  answer(Goodbye{true});
  EXPECT_EQ(call.future.get().code(), Errc::kPeerLost);
  EXPECT_EQ(transport.closed, 1);
}

TEST_F(SessionLink, ARefusedConnectionKeepsTheReason) {
  session->connect({true, false, Name("127.0.0.1:1")}, Hello{});
  session->on_link_down(link(), Error{Errc::kUnauthorized, kNoRank, "the ticket is not valid"});
  EXPECT_EQ(session->why_down().code, Errc::kUnauthorized);
  EXPECT_EQ(session->why_down().message, "the ticket is not valid");
}

TEST_F(SessionLink, ViewsSurviveTheLoss) {
  link_up();
  auto call = recv("id");
  answer(arena_reply(call.request, kOwn, 0, 64, 900));
  View view = *call.future.get();
  session->on_link_down(link(), Error{Errc::kIo, kNoRank, "connection reset"});
  EXPECT_EQ(view.bytes().size(), 64u);
  view = View();
  session->step();
  EXPECT_TRUE(transport.all<Release>().empty());
}

TEST_F(SessionLink, TheSidecarsOwnVerdictComesBeforeOurs) {
  link_up();
  auto call = recv("id", 0, 10 * kSecond);
  EXPECT_EQ(session->next_deadline(), now + 12 * kSecond);
  now += 11 * kSecond;
  session->on_timer(now);
  EXPECT_FALSE(call.future.ready());
  answer(reply(call.request, Errc::kTimeout));
  EXPECT_EQ(call.future.get().code(), Errc::kTimeout);
  EXPECT_EQ(session->next_deadline(), kNever);
}

TEST_F(SessionLink, ASidecarThatHangsDoesNotHangTheCaller) {
  link_up();
  auto call = recv("id", 0, 10 * kSecond);
  now += 12 * kSecond;
  session->on_timer(now);
  const Expected<View> view = call.future.get();
  EXPECT_EQ(view.code(), Errc::kTimeout);
  EXPECT_EQ(view.error().rank, kRank);
  ASSERT_EQ(transport.all<Cancel>().size(), 1u);
  EXPECT_EQ(transport.all<Cancel>()[0].target, call.request);
  EXPECT_EQ(session->under_way(), 0u);
  EXPECT_TRUE(session->up());
}

TEST_F(SessionLink, ASendThatHangsCostsTheConnectionBecauseNothingElseFreesTheMemory) {
  link_up();
  const std::vector<std::byte> source(1 << 20);
  SendCall call = send(source, Source::kPayload, 0, 10 * kSecond);
  auto other = recv("id", 0, kNever);
  now += 12 * kSecond;
  session->on_timer(now);
  EXPECT_EQ(transport.closed, 1);
  ASSERT_EQ(transport.all<Cancel>().size(), 1u) << "when it goes on, it must not serve what it finds";
  EXPECT_EQ(transport.all<Cancel>()[0].target, call.request);
  EXPECT_EQ(other.future.get().code(), Errc::kPeerLost);
  EXPECT_FALSE(call.captured.ready());
  EXPECT_EQ(session->next_deadline(), kNever);  // the end of the connection frees the memory, no clock does
  session->on_sent(call.request, fail(Errc::kIo, "cancelled"));
  EXPECT_EQ(call.captured.get().code(), Errc::kTimeout);
  EXPECT_EQ(call.delivered.get().code(), Errc::kTimeout);
}

TEST_F(SessionLink, ASendOfGpuMemoryThatHangsCostsTheConnectionUntilItIsCaptured) {
  link_up();
  SendCall captured = send({}, Source::kDevice);
  answer(reply(captured.request, Errc::kOk, Stage::kCaptured));
  now += 12 * kSecond;
  session->on_timer(now);
  EXPECT_EQ(captured.delivered.get().code(), Errc::kTimeout);
  EXPECT_TRUE(session->up());

  SendCall call = send({}, Source::kDevice);
  now += 12 * kSecond;
  session->on_timer(now);
  EXPECT_EQ(transport.closed, 1);
  EXPECT_EQ(call.captured.get().code(), Errc::kTimeout);
  EXPECT_EQ(call.delivered.get().code(), Errc::kTimeout);
  EXPECT_EQ(session->under_way(), 0u);
}

TEST_F(SessionLink, ForEverIsForEver) {
  link_up();
  auto call = recv("id", 0, kNever);
  EXPECT_EQ(session->next_deadline(), kNever);
  session->on_timer(~TimeNs{0} - 1);
  EXPECT_FALSE(call.future.ready());
}

TEST_F(SessionLink, CancelAsksTheSidecarAndItsAnswerEndsTheCall) {
  link_up();
  auto call = recv("id", 0, kNever);
  session->cancel(call.request);
  ASSERT_EQ(transport.all<Cancel>().size(), 1u);
  EXPECT_FALSE(call.future.ready());
  answer(reply(call.request, Errc::kCancelled));
  EXPECT_EQ(call.future.get().code(), Errc::kCancelled);
}

TEST_F(SessionLink, CancelEndsTheCallEvenWhenTheSidecarHangs) {
  link_up();
  auto call = recv("id", 0, kNever);
  session->cancel(call.request);
  EXPECT_EQ(session->next_deadline(), now + 2 * kSecond);
  now += 2 * kSecond;
  session->on_timer(now);
  EXPECT_EQ(call.future.get().code(), Errc::kCancelled);
}

TEST_F(SessionLink, CancelAfterTheEndIsIgnored) {
  link_up();
  auto call = mark_done("id");
  answer(reply(call.request));
  session->cancel(call.request);
  EXPECT_TRUE(transport.all<Cancel>().empty());
}

TEST_F(SessionLink, ASuccessThatWasUnderWayWinsOverTheCancel) {
  link_up();
  auto call = recv("id", 0, kNever);
  session->cancel(call.request);
  answer(arena_reply(call.request, kOwn, 0, 64, 900));
  EXPECT_TRUE(call.future.get());
}

TEST_F(SessionLink, ACallbackMayStartTheNextCallAtOnce) {
  link_up();
  std::vector<Call<View>> calls;
  int ended = 0;
  for (int i = 0; i < 3; ++i) {
    Call<View> call = recv("id");
    call.future.then([&](Expected<View> view) {
      ++ended;
      EXPECT_EQ(view.code(), Errc::kPeerLost);
      calls.push_back(recv("again"));
    });
  }
  session->on_link_down(link(), Error{Errc::kIo, kNoRank, "over"});
  EXPECT_EQ(ended, 3);
  ASSERT_EQ(calls.size(), 3u);
  for (Call<View>& call : calls) EXPECT_EQ(call.future.get().code(), Errc::kPeerLost);
}

TEST_F(SessionLink, PingsAreAnswered) {
  link_up();
  answer(Ping{77, false});
  ASSERT_EQ(transport.all<Ping>().size(), 1u);
  EXPECT_EQ(transport.all<Ping>()[0].value, 77u);
  EXPECT_TRUE(transport.all<Ping>()[0].answer);
}

TEST_F(SessionLink, MessagesThatNoClientExpectsAreDroppedWithTheirPayload) {
  link_up();
  answer(Chunk{}, payload(10));
  EXPECT_EQ(transport.discarded.size(), 1u);
  answer(reply(12345), payload(10));
  EXPECT_EQ(transport.discarded.size(), 2u);
  EXPECT_TRUE(session->up());
}

TEST_F(SessionLink, GoodbyeComesAfterWhatIsGivenUpAndIsOverWhenSent) {
  link_up();
  session->releases().add_view(900, 1);
  session->say_goodbye();
  ASSERT_EQ(transport.sent.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<Release>(transport.sent[0].message));
  EXPECT_TRUE(std::holds_alternative<Goodbye>(transport.sent[1].message));
  EXPECT_FALSE(session->over());
  session->on_sent(transport.sent[1].token, {});
  EXPECT_TRUE(session->over());
}

TEST_F(SessionLink, EndingTheSessionEndsItsCalls) {
  link_up();
  const std::vector<std::byte> source(1 << 20);
  auto waiting = recv("id", 0, kNever);
  SendCall sending = send(source);
  SendCall failed = send(source);
  answer(reply(failed.request, Errc::kTimeout));
  session = nullptr;
  EXPECT_EQ(waiting.future.get().code(), Errc::kCancelled);
  EXPECT_EQ(sending.captured.get().code(), Errc::kCancelled);
  EXPECT_EQ(sending.delivered.get().code(), Errc::kCancelled);
  EXPECT_EQ(failed.delivered.get().code(), Errc::kTimeout);
}

}  // namespace
}  // namespace sidecar::client_internal
