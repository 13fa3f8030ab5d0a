#include "client/releases.h"

#include <algorithm>

namespace sidecar::client_internal {

void ReleaseQueue::begin(Epoch epoch) {
  const std::lock_guard lock(mutex_);
  epoch_ = epoch;
  views_.clear();
  slots_.clear();
}

std::size_t ReleaseQueue::add_view(std::uint64_t view, Epoch epoch) {
  const std::lock_guard lock(mutex_);
  if (epoch != epoch_) return 0;
  views_.push_back(view);
  return views_.size() + slots_.size();
}

std::size_t ReleaseQueue::add_slot(std::uint64_t slot, Epoch epoch) {
  const std::lock_guard lock(mutex_);
  if (epoch != epoch_) return 0;
  slots_.push_back(slot);
  return views_.size() + slots_.size();
}

bool ReleaseQueue::take(Release& out) {
  const std::lock_guard lock(mutex_);
  if (views_.empty() && slots_.empty()) return false;
  out.views = out.slots = 0;
  std::sort(views_.begin(), views_.end());
  while (!views_.empty()) {  // from the back, so that what does not fit stays where it is
    const std::uint64_t view = views_.back();
    if (out.views > 0 && out.view[out.views - 1u] == view) {
      ++out.count[out.views - 1u];
    } else if (out.views < kReleasesMax) {
      out.view[out.views] = view;
      out.count[out.views] = 1;
      ++out.views;
    } else {
      break;
    }
    views_.pop_back();
  }
  for (; !slots_.empty() && out.slots < kReleasesMax; slots_.pop_back())
    out.slot[out.slots++] = slots_.back();
  return true;
}

}  // namespace sidecar::client_internal
