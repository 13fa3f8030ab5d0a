// The server's side of one ucx_perftest test with one client, step by step on a loop. The client is a network
// peer: whatever it says, stops saying or how it goes away ends the session with an error.
//
//   parameters; both: worker address, endpoint, "OK", flush
//   warm-up: runs of 1, 2, 4 ... iterations, after each a barrier and "go on" or "enough"
//   the run that counts; two barriers; both close; a barrier; the client goes
//
// A run is: barrier, iterations, flush, barrier. A barrier is a word each way.
#pragma once

#include <functional>
#include <memory>

#include "perf/perftest/socket.h"
#include "perf/perftest/worker.h"

namespace sidecar::perf {

struct PerftestSessionOptions {
  PollPolicy policy = PollPolicy::kAdaptive;
  // A client that lets us wait for so long is given up.
  TimeNs silence_max = 30 * kSecond;
  // The same for its first words, which it sends without being asked.
  TimeNs hello_max = 5 * kSecond;
};

class PerftestSession {
 public:
  // `fd`: the connection; stays the caller's. On a thread of its own.
  PerftestSession(int fd, const PerftestSessionOptions& options);
  ~PerftestSession();
  PerftestSession(const PerftestSession&) = delete;
  PerftestSession& operator=(const PerftestSession&) = delete;

  // When it fails UCX may hold on to much: end the process without destroying this.
  Status run();
  // What it was busy with, for a message.
  [[nodiscard]] const char* step() const { return step_; }
  // What the client asked for; empty before it is known.
  [[nodiscard]] std::string test() const { return worker_ != nullptr ? to_string(params_) : std::string(); }
  // What the client has said and nobody took.
  [[nodiscard]] std::span<const std::byte> unread() const { return socket_.arrived(); }

 private:
  Status hear_parameters();
  Status connect();
  Status warm_up();
  Status run_iterations(std::uint64_t count);
  Status barrier();
  Status agree(std::int8_t ours, std::int8_t* theirs);
  Status finish();
  // Runs the loop until it holds.
  Status wait(const std::function<bool()>& done);
  Status flush();
  Status say(std::span<const std::byte> bytes);
  Status hear(std::size_t bytes);
  bool step_of_loop();
  void on_deadline(TimeNs now);
  [[nodiscard]] std::uint64_t activity() const;

  const PerftestSessionOptions options_;
  unsigned major_ = 0, minor_ = 0;  // UCX's version
  Loop loop_;
  PerftestSocket socket_;
  std::unique_ptr<PerftestWorker> worker_;
  PerftestParams params_;
  const char* step_ = "";

  // Messages since the session's beginning.
  std::uint64_t expected_ = 0, to_send_ = 0;
  const std::function<bool()>* done_ = nullptr;
  bool timed_out_ = false;
  TimeNs silence_max_ = 0, deadline_ = kNever;
  std::uint64_t activity_then_ = 0;  // when the deadline was set
};

}  // namespace sidecar::perf
