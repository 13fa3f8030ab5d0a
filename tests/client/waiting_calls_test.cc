#include "client/waiting_calls.h"

#include <gtest/gtest.h>

namespace sidecar::client_internal {
namespace {

class WaitingCallsTest : public ::testing::Test {
 protected:
  Submission recv(RequestId request, std::uint64_t timeout_ns) {
    Submission made;
    made.op = std::make_unique<Op>();
    made.op->kind = OpKind::kRecv;
    made.op->request = request;
    made.op->timeout_ns = timeout_ns;
    made.op->result = std::make_shared<detail::State<View>>(std::weak_ptr<detail::Driver>(), request);
    made.message = std::make_unique<Message>(std::in_place_type<Recv>);
    std::get<Recv>(*made.message).timeout_ns = timeout_ns;
    return made;
  }
  WaitingCalls calls_;
};

TEST_F(WaitingCallsTest, GoOnInTheOrderOfTheirComingWithTheTimeThatTheyHaveLeft) {
  calls_.add(recv(1, 10 * kSecond), 100 * kSecond);
  calls_.add(recv(2, kNever), 101 * kSecond);
  calls_.add(recv(3, kNever - 5), 101 * kSecond);
  const auto first = calls_.take(104 * kSecond);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->op->request, 1u);
  EXPECT_EQ(first->op->timeout_ns, 6 * kSecond);
  EXPECT_EQ(std::get<Recv>(*first->message).timeout_ns, 6 * kSecond) << "the sidecar is told so, too";
  for (const RequestId request : {2u, 3u}) {
    const auto next = calls_.take(104 * kSecond);
    ASSERT_TRUE(next);
    EXPECT_EQ(next->op->request, request);
    EXPECT_GE(next->op->timeout_ns, kNever - 5) << "for ever is for ever";
  }
  EXPECT_FALSE(calls_.take(104 * kSecond));
  EXPECT_TRUE(calls_.empty());
}

TEST_F(WaitingCallsTest, OneWhoseTimeIsUpIsTakenOutWhereverItStands) {
  calls_.add(recv(1, 30 * kSecond), 100 * kSecond);
  calls_.add(recv(2, 5 * kSecond), 100 * kSecond);
  calls_.add(recv(3, 20 * kSecond), 100 * kSecond);
  EXPECT_EQ(calls_.next_deadline(), 105 * kSecond);
  EXPECT_FALSE(calls_.take_due(105 * kSecond - 1));
  EXPECT_EQ(calls_.take_due(105 * kSecond)->op->request, 2u);
  EXPECT_EQ(calls_.next_deadline(), 120 * kSecond);
  EXPECT_EQ(calls_.take_due(200 * kSecond)->op->request, 1u);
  EXPECT_EQ(calls_.take_due(200 * kSecond)->op->request, 3u);
  EXPECT_FALSE(calls_.take_due(200 * kSecond));
  EXPECT_EQ(calls_.next_deadline(), kNever);
}

TEST_F(WaitingCallsTest, OneThatIsCancelledIsFoundByItsNumber) {
  calls_.add(recv(1, 10 * kSecond), 0);
  calls_.add(recv(2, 5 * kSecond), 0);
  EXPECT_FALSE(calls_.take_request(3));
  EXPECT_EQ(calls_.take_request(2)->op->request, 2u);
  EXPECT_FALSE(calls_.take_request(2));
  EXPECT_EQ(calls_.next_deadline(), 10 * kSecond);
}

TEST_F(WaitingCallsTest, ACallThatNobodyWasToldOfFailsWithItsReason) {
  Submission call = recv(1, kSecond);
  auto captured = std::make_shared<detail::State<void>>(std::weak_ptr<detail::Driver>(), 1);
  call.op->captured = captured;
  Future<View> future(std::get<StatePtr<View>>(call.op->result));
  fail_op(*call.op, {Errc::kCancelled, 3, "enough"});
  EXPECT_EQ(future.get().code(), Errc::kCancelled);
  EXPECT_EQ(Future<void>(captured).get().error().message, "enough");
}

}  // namespace
}  // namespace sidecar::client_internal
