// Which transfers of one source instance have been seen: makes delivery exactly once over a link that may
// break and resend. Sequences below `settled` are over at the sender and never come again.
#pragma once

#include <array>
#include <cstdint>

#include "core/limits.h"
#include "core/result.h"
#include "core/types.h"

namespace sidecar {

class DedupWindow {
 public:
  enum class Seen : std::uint8_t { kNew, kInProgress, kOver, kOutside };

  // The sender says that everything below is over.
  void settle_below(Sequence settled) {
    if (settled <= base_) return;
    if (settled - base_ >= kTransferWindow) {
      state_.fill(kUnseen);
    } else {
      for (Sequence s = base_; s < settled; ++s) cell(s) = kUnseen;
    }
    base_ = settled;
  }

  [[nodiscard]] Seen seen(Sequence sequence) const {
    if (sequence < base_) return Seen::kOver;
    if (sequence - base_ >= kTransferWindow) return Seen::kOutside;
    const std::uint8_t state = state_[sequence & (kTransferWindow - 1)];
    return state == kUnseen ? Seen::kNew : state == kWorking ? Seen::kInProgress : Seen::kOver;
  }

  void begin(Sequence sequence) { cell(sequence) = kWorking; }
  void forget(Sequence sequence) {
    if (sequence >= base_) cell(sequence) = kUnseen;
  }
  void end(Sequence sequence, Errc result) {
    if (sequence >= base_)
      cell(sequence) = static_cast<std::uint8_t>(kFirstResult + static_cast<std::uint8_t>(result));
  }
  // Of a sequence that is over; kOk below the window, where the sender does not ask any more.
  [[nodiscard]] Errc result(Sequence sequence) const {
    if (sequence < base_) return Errc::kOk;
    return static_cast<Errc>(state_[sequence & (kTransferWindow - 1)] - kFirstResult);
  }

 private:
  static constexpr std::uint8_t kUnseen = 0;
  static constexpr std::uint8_t kWorking = 1;
  static constexpr std::uint8_t kFirstResult = 2;
  std::uint8_t& cell(Sequence s) { return state_[s & (kTransferWindow - 1)]; }

  Sequence base_ = 1;
  std::array<std::uint8_t, kTransferWindow> state_{};
};

}  // namespace sidecar
