// When a loop lets others have its core before it sleeps. Where processes share cores they bring work, and
// neither side pays for falling asleep and being woken. But somebody who computes keeps the core for
// milliseconds, in which we, awake, are not even put back on it by what arrives: so after a long absence the
// loop does without for a while, and longer the more often that happens.
#pragma once

#include <algorithm>

#include "core/types.h"

namespace sidecar {

class YieldPolicy {
 public:
  // `worked`: for how long since it last slept or did without the core.
  [[nodiscard]] bool wants(TimeNs now, TimeNs worked) const { return now >= after_ && worked < kWorkedNs; }
  void took(TimeNs begin, TimeNs end) {
    if (end - begin < kLongNs) {
      pause_ = std::max(pause_ / 2, kPauseMinNs);
    } else {
      pause_ = std::min(4 * pause_, kPauseMaxNs);
      after_ = end + pause_;
    }
  }

 private:
  static constexpr TimeNs kWorkedNs = 200'000;         // after more than that, sleeping costs next to nothing
  static constexpr TimeNs kLongNs = 2 * kMillisecond;  // a computing thread's turn is as long at least
  static constexpr TimeNs kPauseMinNs = 5 * kMillisecond;
  static constexpr TimeNs kPauseMaxNs = 2 * kSecond;
  TimeNs after_ = 0;
  TimeNs pause_ = kPauseMinNs;
};

}  // namespace sidecar
