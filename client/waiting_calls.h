// Calls that were made while there was no connection, and wait for one within their own deadlines. Loop
// thread only.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "client/op.h"

namespace sidecar::client_internal {

// A call on its way to the session. Without an op: a cancel.
struct Submission {
  std::unique_ptr<Op> op;
  std::unique_ptr<Message> message;
  ConstBytes payload;
  RequestId cancel = 0;
};

// Ends a call that was never told to the sidecar.
void fail_op(Op& op, const Failure& failure);

class WaitingCalls {
 public:
  // A call with a deadline of 0 is not to be added: its time is up.
  void add(Submission submission, TimeNs now);
  // The one that has waited longest, with as much time left as it has not waited.
  std::optional<Submission> take(TimeNs now);
  // One whose time is up.
  std::optional<Submission> take_due(TimeNs now);
  // That one, if it waits here.
  std::optional<Submission> take_request(RequestId request);

  [[nodiscard]] TimeNs next_deadline() const { return next_; }
  [[nodiscard]] bool empty() const { return calls_.empty(); }

 private:
  struct Waiting {
    Submission submission;
    TimeNs until = kNever;
  };
  std::optional<Submission> remove(std::deque<Waiting>::iterator which);

  std::deque<Waiting> calls_;
  TimeNs next_ = kNever;  // the earliest `until`
};

}  // namespace sidecar::client_internal
