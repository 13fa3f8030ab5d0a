// sidecarctl drain, and what everybody sees of it.
#include <thread>

#include "client/registration.h"
#include "tests/control/health.h"
#include "tests/e2e/paths_fixture.h"

namespace sidecar::e2e {
namespace {

class Draining : public BothPaths {
 protected:
  perf::Process drain(Rank rank, const std::string& timeout) {
    return perf::Process({.argv = {perf::program_path("sidecarctl"), "drain", "--address",
                                   cluster_.address(rank), "--timeout", timeout},
                          .log = folder_.path() + "/drain.log"});
  }
  void wait_until_draining(Rank rank) {
    for (int i = 0; i < 500; ++i) {
      const auto status = client_internal::ask_status(cluster_.address(rank), seconds(5));
      if (status && status->draining) return;
      std::this_thread::sleep_for(milliseconds(10));
    }
    FAIL() << "rank " << rank << " does not begin to drain";
  }
  perf::Folder folder_{"/tmp/sidecar-drain-test."};
};
SIDECAR_BOTH_PATHS(Draining);

TEST_P(Draining, WaitsForConsumersToBeDoneRefusesWhatIsNewAndEndsWithZero) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  const auto bytes = contents("held", 0, 500'000);
  ASSERT_TRUE(producer.send(tensor_of(bytes), "held", {{this->consumer()}}));
  perf::Process command = drain(this->consumer(), "60");
  wait_until_draining(this->consumer());
  EXPECT_EQ(producer.send(tensor_of(bytes), "new", {{this->consumer()}}).code(), Errc::kUnavailable);
  EXPECT_EQ(consumer.send(tensor_of(bytes), "back", {{0}}).code(), Errc::kUnavailable);
  EXPECT_FALSE(command.wait(milliseconds(300))) << "it waits";
  const auto channel =
      grpc::CreateChannel(cluster_.address(this->consumer()), grpc::InsecureChannelCredentials());
  EXPECT_EQ(check_health(channel), kHealthNotServing);
  {
    const auto view = consumer.recv("held", 0, seconds(10));
    ASSERT_TRUE(view) << to_string(view.error());
    EXPECT_TRUE(matches(view->bytes(), "held", 0));
  }
  EXPECT_TRUE(consumer.mark_done("held"));
  EXPECT_EQ(command.wait(seconds(30)), (perf::Ending{.code = 0})) << command.log_text();
  EXPECT_NE(command.log_text().find("has drained and ended"), std::string::npos) << command.log_text();
  EXPECT_EQ(cluster_.process(this->consumer()).wait(seconds(10)), (perf::Ending{.code = 0}))
      << cluster_.log(this->consumer());
}

TEST_P(Draining, EndsWhenItsTimeIsOverAndSaysWhatWasLeft) {
  Client producer = cluster_.client(0);
  const auto bytes = contents("held", 0, 500'000);
  ASSERT_TRUE(producer.send(tensor_of(bytes), "held", {{this->consumer()}}));
  perf::Process command = drain(this->consumer(), "0.5");
  EXPECT_EQ(command.wait(seconds(30)), (perf::Ending{.code = 1})) << command.log_text();
  EXPECT_NE(command.log_text().find("1 chunks"), std::string::npos) << command.log_text();
  EXPECT_EQ(cluster_.process(this->consumer()).wait(seconds(10)), (perf::Ending{.code = 0}));
}

TEST_P(Draining, FinishesWhatIsOnItsWayToOthers) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  cluster_.process(this->consumer()).signal(SIGSTOP);
  const auto bytes = contents("late", 0, 2 << 20);
  SendHandle sent = producer.send_async(tensor_of(bytes), "late", {{this->consumer()}});
  std::this_thread::sleep_for(milliseconds(100));
  perf::Process command = drain(0, "60");
  wait_until_draining(0);
  EXPECT_FALSE(command.wait(milliseconds(300)));
  cluster_.process(this->consumer()).signal(SIGCONT);
  EXPECT_TRUE(sent.delivered.get());
  EXPECT_EQ(command.wait(seconds(30)), (perf::Ending{.code = 0})) << command.log_text();
  EXPECT_EQ(cluster_.process(0).wait(seconds(10)), (perf::Ending{.code = 0})) << cluster_.log(0);
  EXPECT_TRUE(matches(consumer.recv("late", 0, seconds(10)).value().bytes(), "late", 0));
  EXPECT_TRUE(consumer.mark_done("late"));
}

}  // namespace
}  // namespace sidecar::e2e
