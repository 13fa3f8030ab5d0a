// Administration, health, reflection, and a server whose loop is in trouble, over a real connection.
#include <gmock/gmock.h>

#include "tests/control/health.h"
#include "tests/control/server_fixture.h"

namespace sidecar {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

TEST_F(ControlServerTest, StatsShowMemoryPressureAndItsEnd) {
  auto stub = v1::Admin::NewStub(channel_);
  const auto stats = [&] {
    v1::StatsResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(stub->Stats(&context, v1::StatsRequest(), &response).ok());
    return response;
  };
  on_loop([&] {
    backend_.engine_stats.waiting_sends = 3;
    backend_.engine_stats.receive.used_bytes = 64;
    backend_.engine_stats.counters.duplicates = 8;
    return 0;
  });
  const v1::StatsResponse pressed = stats();
  EXPECT_TRUE(pressed.memory_pressure());
  EXPECT_EQ(pressed.waiting_sends(), 3u);
  EXPECT_EQ(pressed.receive().used_bytes(), 64u);
  EXPECT_EQ(pressed.counters().at("duplicates"), 8u);
  EXPECT_EQ(pressed.rank(), 1);
  EXPECT_EQ(pressed.arena_kind(), "shared (asked for)");
  on_loop([&] { return backend_.engine_stats.waiting_sends = 0; });
  EXPECT_FALSE(stats().memory_pressure());
}

TEST_F(ControlServerTest, StatsShowWhatTheTransportCounts) {
  on_loop([&] {
    backend_.transport.protocol_errors = 3;
    backend_.transport.unknown_ids = 2;
    backend_.transport.hellos_refused = 4;
    backend_.transport.hello_timeouts = 5;
    backend_.transport.unknown_senders = 6;
    backend_.transport.sends_abandoned = 7;
    backend_.transport.connections_rejected = 8;
    backend_.engine_stats.counters.protocol_errors = 10;
    return 0;
  });
  v1::StatsResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(v1::Admin::NewStub(channel_)->Stats(&context, v1::StatsRequest(), &response).ok());
  const auto& counters = response.counters();
  EXPECT_EQ(counters.at("transport_protocol_errors"), 3u);
  EXPECT_EQ(counters.at("transport_unknown_ids"), 2u);
  EXPECT_EQ(counters.at("transport_hellos_refused"), 4u);
  EXPECT_EQ(counters.at("transport_hello_timeouts"), 5u);
  EXPECT_EQ(counters.at("transport_unknown_senders"), 6u);
  EXPECT_EQ(counters.at("transport_sends_abandoned"), 7u);
  EXPECT_EQ(counters.at("transport_connections_rejected"), 8u);
  EXPECT_EQ(counters.at("protocol_errors"), 13u) << "the engine's and the transport's";
}

TEST_F(ControlServerTest, TheLongestStepBeginsAnewForWhoAsksForThat) {
  auto stub = v1::Admin::NewStub(channel_);
  v1::StatsRequest request;
  const auto counters = [&] {
    v1::StatsResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(stub->Stats(&context, request, &response).ok());
    return std::pair(response.counters().at("loop_longest_step_ns"),
                     response.counters().at("loop_longest_step_cpu_ns"));
  };
  on_loop([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return 0;
  });
  EXPECT_GE(counters().first, 100 * kMillisecond);
  request.set_restart_longest_step(true);
  const auto [before, before_cpu] = counters();
  EXPECT_GE(before, 100 * kMillisecond) << "it begins anew after the answer";
  EXPECT_EQ(before_cpu, 0u) << "nobody had asked for it";
  on_loop([] { return 0; });
  request.set_restart_longest_step(false);
  const auto [after, after_cpu] = counters();
  EXPECT_LT(after, 100 * kMillisecond);
  EXPECT_GT(after_cpu, 0u);
}

TEST_F(ControlServerTest, ChunksComeInPages) {
  on_loop([&] {
    for (ChunkIndex i = 0; i < 5; ++i) {
      ChunkInfo info;
      info.id = std::string("id\0\xff", 4);
      info.chunk = i;
      info.state = "ready";
      backend_.chunk_rows.push_back(info);
    }
    return 0;
  });
  auto stub = v1::Admin::NewStub(channel_);
  std::vector<std::uint32_t> seen;
  std::uint64_t token = 0;
  int pages = 0;
  do {
    v1::ChunksRequest request;
    request.set_page_size(2);
    request.set_page_token(token);
    v1::ChunksResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(stub->Chunks(&context, request, &response).ok());
    for (const v1::ChunkRow& row : response.chunks()) {
      seen.push_back(row.chunk());
      EXPECT_EQ(row.data_id(), std::string("id\0\xff", 4));
    }
    token = response.next_page_token();
    ++pages;
  } while (token != 0 && pages < 10);
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(seen, (std::vector<std::uint32_t>{0, 1, 2, 3, 4}));
}

TEST_F(ControlServerTest, PeersShowTheirPath) {
  on_loop([&] {
    PeerInfo info;
    info.rank = 2;
    info.path = "network";
    info.transports = "tcp";
    backend_.peer_rows.push_back(info);
    return 0;
  });
  v1::PeersResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(v1::Admin::NewStub(channel_)->Peers(&context, v1::PeersRequest(), &response).ok());
  ASSERT_EQ(response.peers_size(), 1);
  EXPECT_EQ(response.peers(0).path(), "network");
  EXPECT_EQ(response.peers(0).transports(), "tcp");
  EXPECT_EQ(response.peers(0).grpc_address(), "127.0.0.1:10002");
}

TEST_F(ControlServerTest, DrainAnswersWithWhatWasLeft) {
  on_loop([&] { return backend_.drain_outcome = DrainOutcome{false, 3, 7}; });
  v1::DrainRequest request;
  request.set_timeout_ms(1500);
  v1::DrainResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(v1::Admin::NewStub(channel_)->Drain(&context, request, &response).ok());
  EXPECT_FALSE(response.finished());
  EXPECT_EQ(response.outgoing_left(), 3u);
  EXPECT_EQ(response.chunks_left(), 7u);
  EXPECT_EQ(on_loop([&] { return backend_.drain_timeout; }), 1500 * kMillisecond);
}

TEST_F(ControlServerTest, WhoGoesAwayDuringADrainDoesNotHoldUpItsThread) {
  v1::DrainRequest request;
  request.set_timeout_ms(~std::uint64_t{0});
  v1::DrainResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  EXPECT_EQ(v1::Admin::NewStub(channel_)->Drain(&context, request, &response).error_code(),
            StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(on_loop([&] { return backend_.drained != nullptr; }));
}

TEST_F(ControlServerTest, ADrainThatTheLoopForgetsIsAnswered) {
  std::thread forget([&] {
    while (!on_loop([&] { return std::exchange(backend_.drained, nullptr) != nullptr; }))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  v1::DrainResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(v1::Admin::NewStub(channel_)->Drain(&context, {}, &response).error_code(),
            StatusCode::UNAVAILABLE);
  forget.join();
}

TEST_F(ControlServerTest, ALoopThatDoesNotAnswerIsReportedAndDoesNotHoldUpTheEnd) {
  std::promise<void> release;
  ASSERT_TRUE(loop_.mailbox().post([wait = release.get_future().share()] { wait.wait(); }));
  v1::RegisterResponse response;
  const grpc::Status status = register_client(request(), &response);
  EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("loop did not answer"));
  release.set_value();
}

TEST_F(ControlServerTest, AnEndedLoopAnswersAtOnce) {
  loop_.end();
  v1::StatsResponse response;
  grpc::ClientContext context;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(v1::Admin::NewStub(channel_)->Stats(&context, v1::StatsRequest(), &response).error_code(),
            StatusCode::UNAVAILABLE);
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1500));
}

TEST_F(ControlServerTest, APortThatIsTakenIsAnErrorThatNamesIt) {
  const auto second =
      ControlServer::start("127.0.0.1", server_->port(), identity_, loop_.mailbox(), backend_);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error(), HasSubstr("127.0.0.1:" + std::to_string(server_->port())));
  EXPECT_THAT(second.error(), HasSubstr("--grpc-port"));
}

TEST_F(ControlServerTest, HealthSaysServingUntilToldOtherwise) {
  EXPECT_EQ(check_health(channel_), kHealthServing);
  server_->set_serving(false);
  EXPECT_EQ(check_health(channel_), kHealthNotServing);
}

TEST_F(ControlServerTest, ReflectionListsTheServices) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call =
      stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag = nullptr;
  bool ok = false;
  const auto next = [&] { return queue.Next(&tag, &ok) && ok; };
  call->StartCall(nullptr);
  ASSERT_TRUE(next());
  call->Write(buffer_of(std::string_view("\x3a\0", 2)), nullptr);  // list_services
  ASSERT_TRUE(next());
  grpc::ByteBuffer response;
  call->Read(&response, nullptr);
  ASSERT_TRUE(next());
  const std::string services = bytes_of(response);
  for (const char* name :
       {"sidecar.v1.Registration", "sidecar.v1.Membership", "sidecar.v1.Admin", "grpc.health.v1.Health"}) {
    EXPECT_THAT(services, HasSubstr(name));
  }
  call->WritesDone(nullptr);
  next();
  grpc::Status status;
  call->Finish(&status, nullptr);
  next();
}

}  // namespace
}  // namespace sidecar
