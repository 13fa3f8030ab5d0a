#include "core/cuda_copier.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/cuda_ipc_cache.h"
#include "core/cuda_lane.h"
#include "core/log.h"
#include "core/pool.h"

namespace sidecar {
namespace {

// Between two looks at what is under way: an eighth of the time that nothing has happened, within these.
constexpr TimeNs kPauseMin = 20'000;
constexpr TimeNs kPauseMax = 500'000;
constexpr TimeNs kFullMailboxPause = kMillisecond;

}  // namespace

class CudaCopier::Impl {
 public:
  Impl(CudaApi& cuda, Mailbox& mailbox, const CudaCopierOptions& options)
      : cuda_(cuda),
        mailbox_(mailbox),
        options_(options),
        pool_(options.copies_max),
        cache_(std::in_place, cuda, options.open_max, options.idle_close),
        lanes_(static_cast<std::size_t>(cuda.devices())) {
    CHECK(options.piece_bytes > 0 && options.pieces_max > 0);
    // Signals are for the loop's thread; a new thread inherits the mask.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, &before) == 0);
    thread_ = std::thread([this] { run(); });
    CHECK(pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    thread_.join();
    while (incoming_.pop_front() != nullptr) continue;
    while (reports_.pop_front() != nullptr) continue;
    pool_.for_each([this](CudaCopy& copy) { pool_.release(&copy); });
  }

  // --- the loop's thread
  // -----------------------------------------------------------------------------------------------
  void set_events(DeviceEvents& events) { events_ = &events; }

  void copy(const DeviceSource& source, Bytes into, Token token) {
    CHECK(events_ != nullptr);
    CudaCopy* const copy = pool_.acquire();
    {
      const std::lock_guard lock(mutex_);
      if (copy == nullptr) {
        refused_.push_back(token);
        post();
        return;
      }
      copy->source = source;
      copy->into = into;
      copy->token = token;
      incoming_.push_back(copy);
    }
    wake_.notify_one();
  }

  void cancel(Token token) {
    {
      const std::lock_guard lock(mutex_);
      cancels_.push_back(token);
    }
    wake_.notify_one();
  }

 private:
  void deliver() {
    std::unique_lock lock(mutex_);
    posted_ = false;
    // What is added from now on has a message of its own.
    std::size_t reports = reports_.size();
    std::size_t refused = refused_.size();
    for (; reports > 0; --reports) {
      CudaCopy* const copy = reports_.pop_front();
      const Token token = copy->token;
      const std::uint64_t told = copy->told;
      const Status status = copy->told_status;
      const bool last = copy->told_last;
      lock.unlock();
      if (last) pool_.release(copy);
      events_->on_copied(token, told, status);
      lock.lock();
    }
    for (; refused > 0; --refused) {
      const Token token = refused_.front();
      refused_.erase(refused_.begin());
      lock.unlock();
      events_->on_copied(token, 0, fail(Errc::kUnavailable, "too many copies from GPUs are waiting"));
      lock.lock();
    }
  }

  // --- either, under the mutex
  // ---------------------------------------------------------------------------------------------
  void post() {
    if (posted_) return;
    // Full: the thread tries again. Closed: nobody wants to know any more.
    posted_ = mailbox_.post([self = std::weak_ptr(self_)] {
      if (const auto alive = self.lock()) (*alive)->deliver();
    });
  }
  [[nodiscard]] bool unposted() const { return !posted_ && (!reports_.empty() || !refused_.empty()); }

  // --- the copier's thread
  // -------------------------------------------------------------------------------------------------
  void run() {
    pthread_setname_np(pthread_self(), "gpu-copies");
    prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);  // pauses are meant as they are said
    std::unique_lock lock(mutex_);
    while (!stop_) {
      while (CudaCopy* copy = incoming_.pop_front()) fresh_.push_back(copy);
      cancelled_.swap(cancels_);
      lock.unlock();
      const TimeNs now = Loop::now_ns();
      if (step(now)) moved_at_ = now;
      const std::optional<TimeNs> pause = pause_after(now);
      lock.lock();
      if (unposted()) post();
      if (stop_ || !incoming_.empty() || !cancels_.empty()) continue;
      if (!pause && !unposted()) {
        wake_.wait(lock);
      } else {
        const TimeNs longest = unposted() ? kFullMailboxPause : kNever;
        wake_.wait_for(lock, std::chrono::nanoseconds(std::min(pause.value_or(kNever), longest)));
      }
    }
    lock.unlock();
    end();
  }

  bool step(TimeNs now) {
    bool any = !fresh_.empty() || !cancelled_.empty();
    for (CudaCopy* copy : fresh_) begin(*copy, now);
    fresh_.clear();
    for (const Token token : cancelled_) end_early(token, now);
    cancelled_.clear();
    for (CudaCopy* copy = waiting_.front(); copy != nullptr;) {
      CudaCopy* const next = CudaCopies::next(copy);
      any |= look_at_event(*copy, now);
      copy = next;
    }
    for (const auto& lane : lanes_) {
      if (lane != nullptr) any |= lane->step(now, [this](CudaCopy* copy) { tell(*copy); });
    }
    cache_->close_idle(now);
    return any;
  }

  // How long there is nothing to do if nobody calls; none: for ever.
  [[nodiscard]] std::optional<TimeNs> pause_after(TimeNs now) const {
    const bool busy = !waiting_.empty() || std::any_of(lanes_.begin(), lanes_.end(), [](const auto& lane) {
      return lane != nullptr && !lane->idle();
    });
    if (busy) return std::clamp((now - moved_at_) / 8, kPauseMin, kPauseMax);
    const TimeNs idle = cache_->next_idle();
    if (idle == kNever) return std::nullopt;
    return idle > now ? idle - now : 0;
  }

  void begin(CudaCopy& copy, TimeNs now) {
    if (copy.into.empty()) return tell(copy);
    const std::optional<int> device = find_device(cuda_, copy.source.device);
    if (!device) {
      return fail_copy(copy,
                       Error{Errc::kNotFound, kNoRank, "the tensor's GPU is none that this sidecar sees"});
    }
    copy.device = *device;
    if (!copy.source.has_event) return lane(*device).add(&copy);
    const Result<CudaEvent> event = cuda_.open_event(*device, copy.source.event);
    if (!event) return fail_copy(copy, event.error());
    copy.event = *event;
    copy.waits_since = now;
    waiting_.push_back(&copy);
  }

  // True: it waits no more.
  bool look_at_event(CudaCopy& copy, TimeNs now) {
    const Result<bool> done = cuda_.event_done(copy.device, copy.event);
    const bool late = now - copy.waits_since >= options_.event_timeout;
    if (done && !*done && !late) return false;
    stop_waiting(copy);
    if (!done) {
      fail_copy(copy, done.error());
    } else if (!*done) {
      fail_copy(copy, Error{Errc::kTimeout, kNoRank, "what the tensor's GPU event waits for never ended"});
    } else {
      lane(copy.device).add(&copy);
    }
    return true;
  }

  void stop_waiting(CudaCopy& copy) {
    waiting_.remove(&copy);
    const Status gone = cuda_.destroy_event(copy.device, std::exchange(copy.event, CudaEvent::kNone));
    if (!gone) LOG_WARN_LIMITED("another process's GPU event stays open: {}", to_string(gone.error()));
  }

  void end_early(Token token, TimeNs now) {
    constexpr Error kCancelled{Errc::kCancelled, kNoRank, "the copy from the GPU is not wanted any more", 0,
                               0};
    for (CudaCopy* copy = waiting_.front(); copy != nullptr; copy = CudaCopies::next(copy)) {
      if (copy->token != token) continue;
      stop_waiting(*copy);
      return fail_copy(*copy, kCancelled);
    }
    for (const auto& lane : lanes_) {
      if (lane == nullptr) continue;
      if (CudaCopy* copy = lane->cancel(token, now, kCancelled)) return tell(*copy);
    }
  }

  CudaLane& lane(int device) {
    auto& lane = lanes_[static_cast<std::size_t>(device)];
    if (lane == nullptr) {
      lane = std::make_unique<CudaLane>(cuda_, *cache_, device,
                                        CudaLaneOptions{options_.piece_bytes, options_.pieces_max});
    }
    return *lane;
  }

  void fail_copy(CudaCopy& copy, const Error& why) {
    copy.status = tl::unexpected(why);
    tell(copy);
  }

  // What there is to report of it. If it is over, it is the loop's from here on.
  void tell(CudaCopy& copy) {
    const bool over = CudaLane::finished(copy);
    if (!over && !copy.status) return;  // its last pieces are still under way
    const std::lock_guard lock(mutex_);
    copy.told = copy.done;
    copy.told_status = copy.status;
    copy.told_last = over;
    if (!copy.report.linked()) reports_.push_back(&copy);
    post();
  }

  void end() {
    for (const auto& lane : lanes_) {
      if (lane != nullptr) lane->stop();
    }
    while (CudaCopy* copy = waiting_.front()) stop_waiting(*copy);
    lanes_.clear();
    cache_.reset();
  }

  CudaApi& cuda_;
  Mailbox& mailbox_;
  const CudaCopierOptions options_;
  const std::shared_ptr<Impl*> self_ = std::make_shared<Impl*>(this);  // a message may outlive us
  DeviceEvents* events_ = nullptr;

  // The loop's thread: which copies there are.
  Pool<CudaCopy> pool_;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  CudaCopies incoming_;
  std::vector<Token> cancels_;
  List<CudaCopy, &CudaCopy::report> reports_;
  std::vector<Token> refused_;
  bool posted_ = false;  // deliver() is in the mailbox

  // The copier's thread.
  std::vector<CudaCopy*> fresh_;
  std::vector<Token> cancelled_;
  CudaCopies waiting_;  // for their events
  std::optional<CudaIpcCache> cache_;
  std::vector<std::unique_ptr<CudaLane>> lanes_;  // of each device, once it was needed
  TimeNs moved_at_ = 0;

  std::thread thread_;  // last: it uses all of the above
};

CudaCopier::CudaCopier(CudaApi& cuda, Mailbox& mailbox, const CudaCopierOptions& options)
    : impl_(std::make_unique<Impl>(cuda, mailbox, options)) {}
CudaCopier::~CudaCopier() = default;
void CudaCopier::set_events(DeviceEvents& events) { impl_->set_events(events); }
void CudaCopier::copy(const DeviceSource& source, Bytes into, Token token) {
  impl_->copy(source, into, token);
}
void CudaCopier::cancel(Token token) { impl_->cancel(token); }

}  // namespace sidecar
