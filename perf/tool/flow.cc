#include "perf/tool/flow.h"

#include <algorithm>
#include <array>

#include "perf/tool/contents.h"
#include "perf/tool/take.h"

namespace sidecar::perf {
namespace {

constexpr std::chrono::minutes kRunMax{10};

ChunkName name_of(const FlowName& flow, std::uint64_t i, const Job& job) {
  if (flow.endless) return {flow.run + "-stream", static_cast<ChunkIndex>(i), 1};
  return chunk_name(flow.run, "-", i, job.count);
}

}  // namespace

Pump::Pump(Client& client, FlowName name, Groups to, const Job& job, Source source)
    : client_(client), name_(std::move(name)), to_(std::move(to)), job_(job), source_(source) {
  if (source_ != Source::kAllocated) private_.resize(std::max<std::uint64_t>(job_.size, 1), std::byte{1});
  // Several sends read it at once, so that it is the same for all.
  if (job_.check && source_ != Source::kAllocated)
    fill(std::span(private_).first(job_.size), pattern_of(job_.run, 0));
}

void Pump::start() {
  begin_ns_ = monotonic_ns();
  for (std::uint32_t i = 0; i < job_.outstanding; ++i) send_next();
}

void Pump::send_next() {
  std::uint64_t i = 0;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || (!name_.endless && begun_ == job_.count)) return;
    i = begun_++;
  }
  if (job_.spacing_ns > 0) sleep_ns(job_.spacing_ns);
  send(i, monotonic_ns());
}

void Pump::send(std::uint64_t i, std::uint64_t begin) {
  const auto go = [this, begin, i](auto&& what) {
    const ChunkName name = name_of(name_, i, job_);
    SendHandle handle = client_.send_async(std::forward<decltype(what)>(what), name.id, to_, name.chunk,
                                           name.num_chunks, {.stream = name_.endless});
    handle.delivered.then([this, begin](Expected<void> result) { sent(std::move(result), begin); });
  };
  if (source_ == Source::kObject) return go(Object{private_.data(), job_.size});
  if (source_ == Source::kPrivate) return go(Tensor{private_.data(), Dtype::kU8, {job_.size}});
  client_.allocate_async({job_.size}, Dtype::kU8).then([this, go, begin](Expected<Buffer> buffer) {
    if (!buffer) return sent(std::move(buffer).error(), begin);
    if (job_.check) fill({buffer->data(), buffer->size_bytes()}, pattern_of(job_.run, 0));
    go(*std::move(buffer));
  });
}

// The next one first: what follows here is not on its way.
void Pump::sent(Expected<void> result, std::uint64_t begin) {
  const std::uint64_t now = monotonic_ns();
  if (result) send_next();
  const std::lock_guard lock(mutex_);
  if (!result && wrong_.empty()) wrong_ = "send: " + to_string(result.error());
  if (!result) stopping_ = true;
  times_.add(now - begin);
  end_ns_ = now;
  ++ended_;
  if (is_over()) over_.notify_one();  // the waiting thread is not woken for each: it would take part
}

void Pump::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  over_.notify_one();
}

void Pump::wait(Recorder& recorder) {
  std::unique_lock lock(mutex_);
  if (!over_.wait_for(lock, kRunMax, [this] { return is_over(); }))
    fail_measurement("chunks did not arrive in time");
  if (!wrong_.empty()) fail_measurement(wrong_);
  if (name_.endless)
    take(client_.close_stream(name_.run + "-stream", static_cast<ChunkIndex>(begun_), to_), "close_stream");
  recorder.take_over(times_, begin_ns_, end_ns_);
}

Drain::Drain(Client& client, FlowName name, const Job& job)
    : client_(client), name_(std::move(name)), job_(job) {}

// Twice as many as can be under way: whoever arrives is waited for.
void Drain::start() {
  for (std::uint32_t i = 0; i < 2 * job_.outstanding; ++i) receive_next();
}

void Drain::receive_next() {
  std::uint64_t i = 0;
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || (!name_.endless && begun_ == job_.count)) return;
    i = begun_++;
    ++under_way_;
  }
  const ChunkName name = name_of(name_, i, job_);
  client_.recv_async(name.id, name.chunk).then([this, i](Expected<View> view) {
    received(i, std::move(view));
  });
}

void Drain::received(std::uint64_t i, Expected<View> view) {
  if (!view) return one_is_over("recv: " + to_string(view.error()));
  if (view->end_of_stream()) return one_is_over("", true);
  std::string wrong;
  if (job_.check) try {
      check(view->bytes(), job_.size, pattern_of(job_.run, 0));
    } catch (const std::exception& error) {
      wrong = error.what();
    }
  receive_next();
  const ChunkName name = name_of(name_, i, job_);
  client_.mark_done_async(name.id, name.chunk).then([this, wrong](Expected<void> result) {
    one_is_over(result ? wrong : "mark_done: " + to_string(result.error()));
  });
}

void Drain::one_is_over(const std::string& wrong, bool end) {
  const std::lock_guard lock(mutex_);
  if (wrong_.empty()) wrong_ = wrong;
  if (end || !wrong.empty()) ended_ = true;
  --under_way_;
  if (is_over()) over_.notify_one();
}

void Drain::wait() {
  std::unique_lock lock(mutex_);
  if (!over_.wait_for(lock, kRunMax, [this] { return is_over(); }))
    fail_measurement("chunks did not arrive in time");
  if (!wrong_.empty()) fail_measurement(wrong_);
}

}  // namespace sidecar::perf
