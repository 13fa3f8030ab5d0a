// Many sidecars that send to one which is full all the time: who is served how often, in all and in every
// stretch.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/cluster.h"

namespace sidecar::sim {

struct SenderPlan {
  std::size_t outstanding = 8;  // sends that it always has under way
  std::uint64_t bytes = 16 * kKiB;
  ChunkKind kind = ChunkKind::kTensor;
  TimeNs late = 0;        // its messages with payload take so much longer
  std::size_t after = 0;  // it begins when so many chunks were taken
};

// Rank 0 receives, the senders are ranks 1 and up, each on a node of its own. Its consumer takes one chunk
// per `pace` and marks it done, which is less often than the senders could bring one.
class ManyToOne : public Cluster, public ::testing::WithParamInterface<int> {
 protected:
  static constexpr std::uint64_t kArena =
      256 * kKiB;  // of the receiver: 7/16 of it for what nobody waits for
  static constexpr std::size_t kWindow = 200;
  static constexpr std::uint32_t kFew = 16;  // places in the receiver's line, where most are refused

  void start(std::uint32_t parked_max, const std::vector<SenderPlan>& plans);
  // Until so many chunks were taken, in the order of their coming. `each`: sees every one before it counts.
  void serve(std::size_t chunks);
  // The same by a consumer that waits for each sender's next one, and takes them as they come.
  void serve_awaited(std::size_t chunks);
  // No new sends; all that were begun are delivered.
  void drain();

  // Of each sender between two chunks that were taken: how many, or how many bytes.
  [[nodiscard]] std::vector<std::uint64_t> counts(std::size_t from, std::size_t to, bool bytes = false) const;
  // Nobody has less than half of anybody else's, in all and in every window. `only`: among the first so many.
  void expect_fair(bool bytes = false, std::size_t only = SIZE_MAX) const;
  // How many later chunks of the same sender were taken before the one that most were.
  [[nodiscard]] std::uint64_t most_overtaken() const;
  // Times the consumer found nothing to take.
  [[nodiscard]] std::uint64_t idle() const { return idle_; }
  [[nodiscard]] std::uint64_t refusals() { return sidecar(0).stats().counters.refusals; }

  TimeNs pace_ = 100 * kMicrosecond;
  std::size_t window_ = kWindow;

 private:
  struct Sender {
    SenderPlan plan;
    SimClient* client = nullptr;
    std::set<RequestId> open;
    std::uint64_t sent = 0;
    std::uint64_t awaited = 0;  // chunks that were asked for
  };
  struct Taken {
    std::size_t sender = 0;
    std::uint64_t number = 0;
    std::uint64_t bytes = 0;
  };
  [[nodiscard]] std::string name(std::size_t sender, std::uint64_t number) const;
  void feed();
  void take_first();
  void ask(std::size_t sender);
  void take_awaited();
  void run(std::size_t chunks, void (ManyToOne::*take)());
  void tick();

  std::vector<Sender> senders_;
  SimClient* consumer_ = nullptr;
  void (ManyToOne::*take_)() = nullptr;
  bool ticking_ = false;
  std::uint64_t idle_ = 0;
  bool feeding_ = true;
  std::set<std::string> seen_;
  std::map<RequestId, std::size_t> asked_;
  std::vector<Taken> taken_;
};

}  // namespace sidecar::sim
