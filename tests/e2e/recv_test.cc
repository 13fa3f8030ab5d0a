// What consumers may rely on besides the plain case: ends, waits, views, several threads.
#include <fstream>
#include <thread>

#include "tests/e2e/paths_fixture.h"

namespace sidecar::e2e {
namespace {

class Recv : public BothPaths {
 protected:
  Client producer_ = cluster_.client(0);
  Client consumer_ = cluster_.client(consumer());

  [[nodiscard]] Groups to() const { return {{consumer()}}; }
  void send(std::string_view id, std::size_t bytes, ChunkIndex chunk = 0, ChunkIndex num_chunks = 1) {
    const auto data = contents(id, chunk, bytes);
    const auto sent = producer_.send(tensor_of(data), id, to(), chunk, num_chunks);
    ASSERT_TRUE(sent) << to_string(sent.error());
  }
};
SIDECAR_BOTH_PATHS(Recv);

TEST_P(Recv, AtOrPastTheEndIsTheEndOfTheStreamAndNoError) {
  send("short", 10, 0, 2);
  for (const ChunkIndex chunk : {2u, 3u, 4'000'000'000u}) {
    const auto view = consumer_.recv("short", chunk);
    ASSERT_TRUE(view) << to_string(view.error());
    EXPECT_TRUE(view->end_of_stream()) << chunk;
    EXPECT_EQ(view->num_chunks(), 2u);
  }
  for (const ChunkIndex chunk : {0u, 1u}) EXPECT_TRUE(consumer_.mark_done("short", chunk));
}

TEST_P(Recv, AWaitPastTheEndIsAnsweredWhenTheEndBecomesKnown) {
  auto waiting = consumer_.recv_async("unknown-end", 5);
  EXPECT_FALSE(waiting.wait(milliseconds(50)));
  send("unknown-end", 10);
  const auto view = waiting.get();
  ASSERT_TRUE(view) << to_string(view.error());
  EXPECT_TRUE(view->end_of_stream());
  EXPECT_TRUE(consumer_.mark_done("unknown-end"));
}

TEST_P(Recv, ACallThatWaitsEndsWhenItsChunkIsMarkedDone) {
  auto waiting = consumer_.recv_async("never-sent");
  EXPECT_FALSE(waiting.wait(milliseconds(50)));
  EXPECT_TRUE(consumer_.mark_done("never-sent"));
  EXPECT_EQ(waiting.get().code(), Errc::kAlreadyDone);
}

TEST_P(Recv, DataThatArriveBeforeTheirConsumerAreHeldForIt) {
  consumer_.close();
  send("early", 100'000);
  Client late = cluster_.client(consumer());
  EXPECT_TRUE(matches(late.recv("early").value().bytes(), "early", 0));
  EXPECT_TRUE(late.mark_done("early"));
}

TEST_P(Recv, Rule5ViewsCannotBeWritten) {
  send("read-only", 100'000);
  {
    const auto view = consumer_.recv("read-only");
    ASSERT_TRUE(view);
    EXPECT_EQ(view->writable_data(), nullptr);
    // How it is mapped says the kernel: "r--s".
    std::ifstream maps("/proc/self/maps");
    bool found = false;
    for (std::string line; std::getline(maps, line);) {
      std::uintptr_t begin = 0, end = 0;
      char permissions[5] = {};
      if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, permissions) != 3) continue;
      const auto at = reinterpret_cast<std::uintptr_t>(view->data());
      if (at < begin || at >= end) continue;
      found = true;
      EXPECT_EQ(std::string(permissions), "r--s") << line;
    }
    EXPECT_TRUE(found);
  }
  EXPECT_TRUE(consumer_.mark_done("read-only"));
}

TEST_P(Recv, Rule3MemoryIsNotReusedWhileAnotherProcessLooksAtIt) {
  constexpr std::size_t kBytes = 8 << 20;
  Executor reader(cluster_, consumer());
  send("looked-at", kBytes);
  ASSERT_EQ(reader.ask("hold looked-at 0 5000").substr(0, 15), "ok 8388608 good");
  EXPECT_TRUE(consumer_.mark_done("looked-at"));
  EXPECT_EQ(consumer_.recv("looked-at").code(), Errc::kAlreadyDone) << "hidden at once";
  for (int i = 0; i < 6; ++i) {  // these would land in the freed slots
    const std::string id = "next-" + std::to_string(i);
    send(id, kBytes);
    EXPECT_TRUE(consumer_.mark_done(id));
    EXPECT_EQ(reader.ask("check"), "ok 1") << "after datum " << i;
  }
  EXPECT_EQ(reader.ask("drop"), "ok");
}

TEST_P(Recv, AViewOutlivesItsClient) {
  send("outlived", 300'000);
  {
    auto view = consumer_.recv("outlived");
    ASSERT_TRUE(view);
    consumer_.close();
    EXPECT_TRUE(matches(view->bytes(), "outlived", 0));
  }
  EXPECT_TRUE(cluster_.client(consumer()).mark_done("outlived"));
}

TEST_P(Recv, TheSourceMayBeReusedOnceItIsCaptured) {
  auto data = contents("captured", 0, 8 << 20);
  SendHandle handle = producer_.send_async(tensor_of(data), "captured", to());
  ASSERT_TRUE(handle.captured.get());
  std::fill(data.begin(), data.end(), std::byte{0});
  ASSERT_TRUE(handle.delivered.get());
  EXPECT_TRUE(matches(consumer_.recv("captured").value().bytes(), "captured", 0));
  EXPECT_TRUE(consumer_.mark_done("captured"));
}

TEST_P(Recv, SeveralThreadsShareAClient) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string id = "thread-" + std::to_string(t) + "-" + std::to_string(i);
        send(id, 10'000u + 997u * static_cast<unsigned>(i));
        {
          const auto view = consumer_.recv(id);
          EXPECT_TRUE(view && matches(view->bytes(), id, 0)) << id;
        }
        EXPECT_TRUE(consumer_.mark_done(id));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(Recv, TheCallerMayDriveAClientByItself) {
  ClientOptions options;
  options.progress = Progress::kCaller;
  options.polling = Polling::kEvent;
  Client driven = cluster_.client(consumer(), options);
  auto waiting = driven.recv_async("driven");
  EXPECT_GE(driven.fd(), 0);
  driven.poll(milliseconds(50));
  EXPECT_FALSE(waiting.ready());
  send("driven", 200'000);
  for (int i = 0; i < 200 && !waiting.ready(); ++i) driven.poll(milliseconds(50));
  ASSERT_TRUE(waiting.ready());
  EXPECT_TRUE(matches(waiting.get().value().bytes(), "driven", 0));
  EXPECT_TRUE(driven.mark_done("driven"));
}

}  // namespace
}  // namespace sidecar::e2e
