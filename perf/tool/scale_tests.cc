// Round trips of objects, one at a time, beside more and more of something: see Scale. What there is of it in
// the end, as the sidecar itself counts it, is in the result.
#include <array>
#include <deque>
#include <tuple>

#include "perf/cluster.h"
#include "perf/tool/tests.h"

namespace sidecar::perf {
namespace {

constexpr std::array<std::byte, 64> kSmall{};
constexpr std::size_t kAtOnce = 1024;
constexpr std::uint64_t kCallsEach = 50'000;  // of one client: fewer than a sidecar takes (kClientCallsMax)
constexpr std::chrono::hours kForLong{1};

// `call` for each number from the one to before the other.
template <class Call>
void call_each(std::uint64_t from, std::uint64_t to, const char* what, const Call& call) {
  std::deque<Future<void>> under_way;
  while (from < to || !under_way.empty()) {
    if (from < to) under_way.push_back(call(from++));
    if (from < to && under_way.size() < kAtOnce) continue;
    take(under_way.front().get(), what);
    under_way.pop_front();
  }
}

void measure(const End& end, Client& client, const Job& job, const char* counted, Recorder& recorder) {
  ping_objects(client, job, recorder);
  recorder.more[counted] = static_cast<double>(counter(end.status(), counted));
}

std::string held_id(const Job& job, std::uint64_t i) { return job.session + "-held-" + std::to_string(i); }

// From one sidecar to another: opens the one's link to the other, if there is none yet.
std::string greeting_id(const Job& job, Rank from, Rank to) {
  return job.session + "-from-" + std::to_string(from) + "-to-" + std::to_string(to);
}
void greet(Client& client, const Job& job, Rank from, Rank to) {
  take(client.send(Object{kSmall.data(), kSmall.size()}, greeting_id(job, from, to), {{to}}), "send");
}
void hear(Client& client, const Job& job, Rank from, Rank to) {
  take(client.recv(greeting_id(job, from, to)), "recv");
  take(client.mark_done(greeting_id(job, from, to)), "mark_done");
}
// Those of the responder's sidecars, all but the measured one, that this run is the first to have.
std::vector<std::size_t> newcomers(const Job& job) {
  std::vector<std::size_t> all;
  for (std::uint64_t i = std::max<std::uint64_t>(job.x_before, 1); i < job.x; ++i) all.push_back(i);
  return all;
}

}  // namespace

// Who gives the objects back is who holds them, so that this works whatever has become of the other end.
void initiate_scale_ids(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  Client client = end.connect(0, job, Progress::kCaller);
  call_each(job.x, job.x_before, "mark_done",
            [&](std::uint64_t i) { return client.mark_done_async(held_id(job, i)); });
  measure(end, client, job, "chunks", recorder);
}
void respond_scale_ids(const End& end, const Job& job, const Ready& ready) {
  Client client = end.connect(0, job, Progress::kCaller);
  ready({});
  // One that waits so long waits for room that there is not.
  const SendOptions options{.deadline = std::chrono::seconds(10)};
  call_each(job.x_before, job.x, "send", [&](std::uint64_t i) {
    return client
        .send_async(Object{kSmall.data(), kSmall.size()}, held_id(job, i), {{job.from.at(0)}}, 0, 1, options)
        .delivered;
  });
  pong_objects(client, job);
}

// Of the client that is measured as well, but no client may have them all. They end with their clients.
void initiate_scale_waiting(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  Job asleep = job;
  asleep.poll = "event";
  std::deque<Client> clients;
  std::vector<Future<View>> never;
  clients.push_back(end.connect(0, job, Progress::kCaller));
  for (std::uint64_t i = 0; i < job.x; ++i) {
    if (i > 0 && i % kCallsEach == 0) clients.push_back(end.connect(0, asleep, Progress::kThread));
    never.push_back(clients.back().recv_async(job.run + "-never-" + std::to_string(i), 0, kForLong));
  }
  // Each is answered after all that its client asked for before.
  for (Client& client : clients) std::ignore = client.recv(job.run + "-now", 0, std::chrono::seconds(0));
  measure(end, clients.front(), job, "waiting_recvs", recorder);
}
void respond_scale_waiting(const End& end, const Job& job, const Ready& ready) {
  respond_object_lat(end, job, ready);
}

void initiate_scale_peers(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  Client client = end.connect(0, job, Progress::kCaller);
  for (const std::size_t i : newcomers(job)) greet(client, job, job.from.at(0), job.to.at(i));
  for (const std::size_t i : newcomers(job)) hear(client, job, job.to.at(i), job.from.at(0));
  measure(end, client, job, "peers_connected", recorder);
}
void respond_scale_peers(const End& end, const Job& job, const Ready& ready) {
  Client client = end.connect(0, job, Progress::kCaller);
  ready({});
  for (const std::size_t i : newcomers(job)) {
    Client other = end.connect(i, job, Progress::kCaller);
    greet(client, job, job.to.at(0), job.to.at(i));
    for (const Rank rank : {job.from.at(0), job.to.at(0)}) {
      greet(other, job, job.to.at(i), rank);
      hear(other, job, rank, job.to.at(i));
    }
    hear(client, job, job.to.at(i), job.to.at(0));
  }
  pong_objects(client, job);
}

void initiate_scale_arena(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  Client client = end.connect(0, job, Progress::kCaller);
  ping_objects(client, job, recorder);
  recorder.more["arena_bytes"] = static_cast<double>(end.status().arena_bytes);
}
void respond_scale_arena(const End& end, const Job& job, const Ready& ready) {
  respond_object_lat(end, job, ready);
}

}  // namespace sidecar::perf
