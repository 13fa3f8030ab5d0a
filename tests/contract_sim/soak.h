// Random operations and random faults against a model of what may come of them. One seed, one history; a
// failure names the seed, and SOAK_SEED replays it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/sim/client.h"
#include "tests/sim/sidecar.h"

namespace sidecar::sim {

class Soak {
 public:
  // `gentle`: links break and processes stop, but never for long enough that anybody may count as lost; then
  // nothing may be lost. Otherwise processes are killed and cut off for long.
  Soak(std::uint64_t seed, bool gentle);
  void run();

 private:
  struct Datum {
    std::string id;
    Rank producer = 0;
    InstanceId producer_instance = 0;
    std::vector<Rank> to;
    bool stream = false;
    ChunkIndex num_chunks = 0;
    std::vector<int> sends;          // of each chunk
    std::vector<ChunkIndex> closes;  // counts that were tried
    bool closed = false;             // with the right one, everywhere
    [[nodiscard]] std::vector<std::vector<Rank>> groups() const;
  };
  enum class Call { kSend, kRecv, kDone, kAllocate, kClose };
  struct Asked {
    SimClient* client;
    RequestId request;
    Call call;
    std::size_t datum;
    ChunkIndex chunk = 0;
    TimeNs timeout = kNever;
    InstanceId at = 0;             // the instance that was asked
    std::vector<InstanceId> dest;  // sends: the destinations' instances when asked
    bool cancelled = false;
    bool judged = false;
  };
  // What is known of one chunk at one instance of a destination.
  struct Held {
    std::optional<std::uint64_t> salt;  // seen by some recv: the first data stays
    TimeNs done_asked = kNever;         // a mark_done was sent
    TimeNs done_answered = kNever;
    bool delivered = false;
  };
  using HeldKey = std::tuple<InstanceId, std::size_t, ChunkIndex>;

  // soak.cc: what happens
  void make_world();
  void operation();
  void fault();
  void end_faults();
  void new_datum();
  void send();
  void send_slot(Datum& datum, std::size_t index, ChunkIndex chunk, SimClient& client);
  void recv();
  void mark_done();
  void close();
  void cancel();
  void give_back();
  void add_client(Rank rank);
  SimClient* some_client(std::optional<Rank> rank = std::nullopt);
  Asked& asked(SimClient& client, RequestId request, Call call, std::size_t datum, ChunkIndex chunk,
               TimeNs timeout);
  TimeNs some_timeout();
  void restart(Rank rank);

  // soak_judge.cc: whether it may
  void judge_all();
  void judge(Asked& asked);
  void judge_recv(const Asked& asked, const Outcome& outcome);
  void judge_send(const Asked& asked, const Outcome& outcome);
  void judge_code(const Asked& asked, Errc code);
  [[nodiscard]] std::string describe(const Asked& asked) const;
  void finish_calls();
  void check_delivered_is_readable();
  void clean_up();
  void mark_done_everywhere();
  void expect_nothing_left();

  Conditions conditions_;
  SimWorld world_;
  Random& random_;
  const bool gentle_;
  Rank ranks_ = 2;
  std::vector<SidecarSpec> specs_;
  std::vector<SimClient*> clients_;
  std::vector<Datum> data_;
  std::vector<Asked> calls_;
  std::map<HeldKey, Held> held_;
  std::vector<std::pair<SimProcess*, TimeNs>> stopped_;  // and until when
  TimeNs cut_until_ = 0;
  bool lossy_ = false;        // something happened by which a peer may count as lost
  bool client_lost_ = false;  // and here by which a client, whose unfinished sends are then taken back
};

}  // namespace sidecar::sim
