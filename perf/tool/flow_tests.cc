// Chunks one way, several at once, between one or many executors.
#include <memory>

#include "perf/tool/flow.h"
#include "perf/tool/tests.h"

namespace sidecar::perf {
namespace {

Pump::Source source_of(const Job& job) {
  return job.own_memory ? Pump::Source::kPrivate : Pump::Source::kAllocated;
}

void initiate(const End& end, const Job& job, Groups to, Pump::Source source, Recorder& recorder) {
  Client client = end.connect(0, job, Progress::kThread);
  Pump pump(client, {job.run}, std::move(to), job, source);
  recorder.begin();
  pump.start();
  pump.wait(recorder);
}

// One executor each beside the first `executors` sidecars, and all flows at each.
void respond(const End& end, const Job& job, std::size_t executors, const std::vector<std::string>& flows,
             const Ready& ready) {
  std::vector<Client> clients;
  std::vector<std::unique_ptr<Drain>> drains;
  clients.reserve(executors);
  for (std::size_t i = 0; i < executors; ++i) {
    clients.push_back(end.connect(i, job, Progress::kThread));
    for (const std::string& flow : flows)
      drains.push_back(std::make_unique<Drain>(clients.back(), FlowName{flow}, job));
  }
  for (const auto& drain : drains) drain->start();
  ready({});
  for (const auto& drain : drains) drain->wait();
}

std::vector<std::string> flows_of(const Job& job) {
  std::vector<std::string> flows;
  for (std::size_t i = 0; i < job.from.size(); ++i) flows.push_back(job.run + "-from" + std::to_string(i));
  return flows;
}

}  // namespace

void initiate_object_rate(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  initiate(end, job, {{job.to.at(0)}}, Pump::Source::kObject, recorder);
}
void respond_object_rate(const End& end, const Job& job, const Ready& ready) {
  respond(end, job, 1, {job.run}, ready);
}
void initiate_chunk_bw(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  initiate(end, job, {{job.to.at(0)}}, source_of(job), recorder);
}
void respond_chunk_bw(const End& end, const Job& job, const Ready& ready) {
  respond(end, job, 1, {job.run}, ready);
}

void initiate_fanout(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  Groups to;
  for (const Rank rank : job.to) to.push_back({rank});
  initiate(end, job, std::move(to), source_of(job), recorder);
}
void respond_fanout(const End& end, const Job& job, const Ready& ready) {
  respond(end, job, job.to.size(), {job.run}, ready);
}

// Each sender has as many chunks; the slowest's time against the fastest's says how fair it was.
void initiate_manytoone(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  std::vector<Client> clients;
  std::vector<std::unique_ptr<Pump>> pumps;
  clients.reserve(job.from.size());
  for (const std::string& flow : flows_of(job)) {
    clients.push_back(end.connect(clients.size(), job, Progress::kThread));
    pumps.push_back(
        std::make_unique<Pump>(clients.back(), FlowName{flow}, Groups{{job.to.at(0)}}, job, source_of(job)));
  }
  recorder.begin();
  for (const auto& pump : pumps) pump->start();
  double slowest = 0, fastest = 0;
  for (const auto& pump : pumps) {
    Recorder one;
    pump->wait(one);
    pump->wait(recorder);
    slowest = std::max(slowest, one.seconds());
    fastest = fastest == 0 ? one.seconds() : std::min(fastest, one.seconds());
  }
  recorder.more["slowest_of_fastest"] = slowest > 0 ? fastest / slowest : 0;
}
void respond_manytoone(const End& end, const Job& job, const Ready& ready) {
  respond(end, job, 1, flows_of(job), ready);
}

// All members call, each brings its part.
void initiate_sharded(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  std::vector<Client> members;
  std::vector<std::unique_ptr<Pump>> pumps;
  members.reserve(job.from.size());
  for (std::size_t i = 0; i < job.from.size(); ++i) {
    members.push_back(end.connect(i, job, Progress::kThread, job.from));
    pumps.push_back(std::make_unique<Pump>(members.back(), FlowName{job.run}, Groups{{job.to.at(0)}}, job,
                                           Pump::Source::kPrivate));
  }
  recorder.begin();
  for (const auto& pump : pumps) pump->start();
  pumps.front()->wait(recorder);
  for (const auto& pump : pumps) {
    Recorder others;
    pump->wait(others);
  }
}
void respond_sharded(const End& end, const Job& job, const Ready& ready) {
  respond(end, job, 1, {job.run}, ready);
}

}  // namespace sidecar::perf
