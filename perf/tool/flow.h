// Chunks that flow one way, several at once: Pump sends them, Drain takes them. Both work in callbacks on
// their clients' own threads (Progress::kThread).
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>

#include "perf/tool/job.h"
#include "perf/tool/recorder.h"
#include "sidecar/client.h"

namespace sidecar::perf {

// What stream's objects run beside.
inline constexpr std::uint64_t kBackgroundBytes = 64 << 20;

// How a run's chunks are named: a run has several flows when several send.
struct FlowName {
  std::string run;
  bool endless = false;  // one stream, ended by Pump::stop()
};

class Pump {
 public:
  enum class Source : std::uint8_t { kObject, kAllocated, kPrivate };
  Pump(Client& client, FlowName name, Groups to, const Job& job, Source source);

  void start();
  // Of an endless one: no more, and the receivers are told how many there were.
  void stop();
  // Until every destination has everything. Throws what went wrong. The times are of single sends, from the
  // call (with Source::kAllocated: from the wish for memory) to the last destination's having it.
  void wait(Recorder& recorder);

 private:
  void send_next();
  void send(std::uint64_t i, std::uint64_t begin);
  void sent(Expected<void> result, std::uint64_t begin);
  [[nodiscard]] bool is_over() const {
    return ended_ == begun_ && (stopping_ || (!name_.endless && ended_ == job_.count));
  }

  Client& client_;
  const FlowName name_;
  const Groups to_;
  const Job job_;
  const Source source_;
  std::vector<std::byte> private_;  // one for all: what is sent is not what is measured
  std::mutex mutex_;                // over all below
  std::condition_variable over_;
  bool stopping_ = false;
  std::uint64_t begun_ = 0;
  std::uint64_t ended_ = 0;
  std::string wrong_;
  Histogram times_;
  std::uint64_t begin_ns_ = 0;
  std::uint64_t end_ns_ = 0;
};

class Drain {
 public:
  Drain(Client& client, FlowName name, const Job& job);
  void start();
  // Until everything was received and is done with. Throws what went wrong.
  void wait();

 private:
  void receive_next();
  void received(std::uint64_t i, Expected<View> view);
  void one_is_over(const std::string& wrong, bool end = false);
  [[nodiscard]] bool is_over() const {
    return under_way_ == 0 && (ended_ || (!name_.endless && begun_ == job_.count));
  }

  Client& client_;
  const FlowName name_;
  const Job job_;
  std::mutex mutex_;  // over all below
  std::condition_variable over_;
  bool ended_ = false;  // there is no more, or something went wrong
  std::uint64_t begun_ = 0;
  std::uint64_t under_way_ = 0;
  std::string wrong_;
};

}  // namespace sidecar::perf
