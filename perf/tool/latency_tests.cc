// There and back, one at a time. Both ends drive their clients themselves (Progress::kCaller), as an executor
// does that waits for one answer.
#include <array>

#include "perf/tool/contents.h"
#include "perf/tool/flow.h"
#include "perf/tool/tests.h"

namespace sidecar::perf {
namespace {

enum class Kind : std::uint8_t { kObject, kTensor };

// Sends one message, from private memory or from an allocated buffer, and does not wait for more than that
// the memory may be used again.
class Sender {
 public:
  Sender(Client& client, const Job& job, Kind kind, const char* way)
      : client_(client), job_(job), kind_(kind), way_(way), bytes_(job.size, std::byte{1}) {}

  SendHandle send(std::uint64_t i, const Group& to) {
    const ChunkName name = chunk_name(job_.run, way_, i, job_.count);
    if (kind_ == Kind::kTensor && !job_.own_memory) {
      Buffer buffer = take(client_.allocate({job_.size}, Dtype::kU8), "allocate");
      if (job_.check) fill({buffer.data(), buffer.size_bytes()}, pattern_of(job_.run, i));
      return client_.send_async(std::move(buffer), name.id, {to}, name.chunk, name.num_chunks);
    }
    if (job_.check) fill(bytes_, pattern_of(job_.run, i));
    if (kind_ == Kind::kObject)
      return client_.send_async(Object{bytes_.data(), bytes_.size()}, name.id, {to}, name.chunk,
                                name.num_chunks);
    return client_.send_async(Tensor{bytes_.data(), Dtype::kU8, {bytes_.size()}}, name.id, {to}, name.chunk,
                              name.num_chunks);
  }

 private:
  Client& client_;
  const Job& job_;
  const Kind kind_;
  const char* const way_;
  std::vector<std::byte> bytes_;
};

void receive(Client& client, const Job& job, const char* way, std::uint64_t i) {
  const ChunkName name = chunk_name(job.run, way, i, job.count);
  const View view = take(client.recv(name.id, name.chunk), "recv");
  if (job.check) check(view.bytes(), job.size, pattern_of(job.run, i));
}

// A wait would not be over before the other end has been told, and its answer has passed.
Future<void> done(Client& client, const Job& job, const char* way, std::uint64_t i) {
  const ChunkName name = chunk_name(job.run, way, i, job.count);
  return client.mark_done_async(name.id, name.chunk);
}

// `answer`: what comes back; the same job but for its size and what it is. `halves`: of the time there and
// back.
void ping(Client& client, const Job& job, Kind kind, const Job& answer, bool halves, Recorder& recorder) {
  Sender sender(client, job, kind, "-there");
  recorder.begin();
  for (std::uint64_t i = 0; i < job.count; ++i) {
    if (job.spacing_ns > 0) sleep_ns(job.spacing_ns);
    const std::uint64_t begin = monotonic_ns();
    SendHandle sent = sender.send(i, {job.to.at(0)});
    receive(client, answer, "-back", i);
    const std::uint64_t end = monotonic_ns();
    recorder.add(halves ? (end - begin) / 2 : end - begin, end);
    Future<void> is_done = done(client, job, "-back", i);
    take(sent.delivered.get(), "send");
    take(is_done.get(), "mark_done");
  }
  recorder.end(monotonic_ns());
}

void pong(Client& client, const Job& job, const Job& answer, Kind kind) {
  Sender sender(client, answer, kind, "-back");
  for (std::uint64_t i = 0; i < job.count; ++i) {
    receive(client, job, "-there", i);
    SendHandle sent = sender.send(i, {job.from.at(0)});
    Future<void> is_done = done(client, job, "-there", i);
    take(sent.delivered.get(), "send");
    take(is_done.get(), "mark_done");
  }
}

void initiate(const End& end, const Job& job, Kind kind, Recorder& recorder) {
  Client client = end.connect(0, job, Progress::kCaller);
  ping(client, job, kind, job, true, recorder);
}
void respond(const End& end, const Job& job, Kind kind, const Ready& ready) {
  Client client = end.connect(0, job, Progress::kCaller);
  ready({});
  pong(client, job, job, kind);
}

Job short_answer(const Job& job) {
  Job answer = job;
  answer.size = 8;
  return answer;
}

Job background(const Job& job) {
  Job other = job;
  other.size = kBackgroundBytes;
  other.outstanding = 2;
  other.check = false;
  other.spacing_ns = 0;
  return other;
}

}  // namespace

void ping_objects(Client& client, const Job& job, Recorder& recorder) {
  ping(client, job, Kind::kObject, job, true, recorder);
}
void pong_objects(Client& client, const Job& job) { pong(client, job, job, Kind::kObject); }

void initiate_object_lat(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  initiate(end, job, Kind::kObject, recorder);
}
void respond_object_lat(const End& end, const Job& job, const Ready& ready) {
  respond(end, job, Kind::kObject, ready);
}
void initiate_chunk_lat(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  initiate(end, job, Kind::kTensor, recorder);
}
void respond_chunk_lat(const End& end, const Job& job, const Ready& ready) {
  respond(end, job, Kind::kTensor, ready);
}

// From the wish for memory to the answer, eight bytes long, of who has the chunk in hand.
void initiate_allocate_send(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  Client client = end.connect(0, job, Progress::kCaller);
  ping(client, job, Kind::kTensor, short_answer(job), false, recorder);
}
void respond_allocate_send(const End& end, const Job& job, const Ready& ready) {
  Client client = end.connect(0, job, Progress::kCaller);
  ready({});
  pong(client, job, short_answer(job), Kind::kObject);
}

void initiate_stream(const End& end, const Job& job, const nlohmann::json&, Recorder& recorder) {
  Client client = end.connect(0, job, Progress::kCaller);
  Client beside = end.connect(0, job, Progress::kThread);
  const Job other = background(job);
  Pump pump(beside, {job.run + "-beside", true}, {{job.to.at(0)}}, other, Pump::Source::kAllocated);
  pump.start();
  ping(client, job, Kind::kObject, job, true, recorder);
  pump.stop();
  Recorder flowed;
  pump.wait(flowed);
  recorder.more["beside_mib_s"] =
      static_cast<double>(flowed.times().count()) * static_cast<double>(other.size >> 20) / flowed.seconds();
}
void respond_stream(const End& end, const Job& job, const Ready& ready) {
  Client client = end.connect(0, job, Progress::kCaller);
  Client beside = end.connect(0, job, Progress::kThread);
  Drain drain(beside, {job.run + "-beside", true}, background(job));
  drain.start();
  ready({});
  pong(client, job, job, Kind::kObject);
  drain.wait();
}

}  // namespace sidecar::perf
