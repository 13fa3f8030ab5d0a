#include "core/mailbox.h"

#include <uv.h>

#include <mutex>
#include <utility>
#include <vector>

#include "core/uv_handle.h"

namespace sidecar {

class Mailbox::Impl {
 public:
  Impl(Loop* loop, std::size_t capacity, std::size_t drain_limit)
      : loop_(loop), capacity_(capacity), drain_limit_(drain_limit) {
    CHECK(capacity > 0 && drain_limit > 0);
    const auto wake = [](uv_async_t* h) noexcept {
      if (h->data != nullptr) static_cast<Impl*>(h->data)->drain();
    };
    CHECK(async_.open(this, [&](uv_async_t* h) { return uv_async_init(loop->uv(), h, wake); }) == 0);
  }

  bool post(std::function<void()> function) {
    CHECK(function != nullptr);
    const std::lock_guard lock(mutex_);
    if (closed_ || size_ == capacity_) return false;
    inbox_.push_back(std::move(function));
    ++size_;
    // Under the lock, because close() takes the handle away.
    if (inbox_.size() == 1) CHECK(uv_async_send(async_.get()) == 0);
    return true;
  }

  void close() {
    CHECK_ON_LOOP(*loop_);
    std::vector<std::function<void()>> unwanted;  // destroyed without the lock: destructors may call post()
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return;
      closed_ = true;
      size_ = 0;
      unwanted.swap(inbox_);
      async_.close();
    }
    running_.clear();
    next_ = 0;
  }

 private:
  // Runs at most drain_limit_ functions; what they post is for the next time.
  void drain() {
    loop_->kick();
    if (running_.empty()) {
      const std::lock_guard lock(mutex_);
      running_.swap(inbox_);
    }
    std::size_t ran = 0;
    while (ran < drain_limit_ && next_ < running_.size()) {
      const auto function = std::move(running_[next_]);
      ++next_;
      ++ran;
      function();  // may close the mailbox, which empties running_
    }
    if (next_ == running_.size()) {
      running_.clear();
      next_ = 0;
    }
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    size_ -= ran;
    if (size_ > 0) CHECK(uv_async_send(async_.get()) == 0);
  }

  Loop* const loop_;
  const std::size_t capacity_;
  const std::size_t drain_limit_;

  // The loop's thread only. The two vectors change places, so both keep their memory.
  std::vector<std::function<void()>> running_;
  std::size_t next_ = 0;

  std::mutex mutex_;
  std::vector<std::function<void()>> inbox_;
  std::size_t size_ = 0;  // posted and not yet run, in both vectors
  bool closed_ = false;
  UvHandle<uv_async_t> async_;
};

Mailbox::Mailbox(Loop* loop, std::size_t capacity, std::size_t drain_limit)
    : impl_(std::make_unique<Impl>(loop, capacity, drain_limit)) {}
Mailbox::~Mailbox() { close(); }
bool Mailbox::post(std::function<void()> function) { return impl_->post(std::move(function)); }
void Mailbox::close() { impl_->close(); }

}  // namespace sidecar
