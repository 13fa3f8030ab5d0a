// What UCX's callbacks have recorded and nobody has looked at yet, in order of arrival. Emptied before UCX is
// asked for more, so it is as large as one ucp_worker_progress can make it; its memory is kept, so that it is
// allocated only once.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "core/types.h"

namespace sidecar {

struct Arrival {
  enum class Kind : std::uint8_t {
    kMessage,
    kUnknownId,  // not our active-message id
    kUnusable,   // a header or eager payload beyond what the protocol allows
  };
  Handle endpoint;
  Kind kind = Kind::kMessage;
  bool rendezvous = false;
  void* descriptor = nullptr;  // of the payload; null: none, or not kept
  std::uint64_t bytes = 0;     // of the payload
  std::uint32_t header_at = 0;
  std::uint32_t header_bytes = 0;
};

class Inbox {
 public:
  static constexpr std::size_t kArrivalsMax = std::size_t{1} << 20;

  Inbox() {
    arrivals_.reserve(1024);
    headers_.reserve(256 * 1024);
  }

  [[nodiscard]] bool empty() const { return next_ == arrivals_.size(); }
  [[nodiscard]] bool full() const { return arrivals_.size() >= kArrivalsMax; }

  void push(Arrival arrival, std::span<const std::byte> header) {
    arrival.header_at = static_cast<std::uint32_t>(headers_.size());
    arrival.header_bytes = static_cast<std::uint32_t>(header.size());
    headers_.insert(headers_.end(), header.begin(), header.end());
    arrivals_.push_back(arrival);
  }

  // The header stays where it is until the inbox is found empty and push() is called again.
  Arrival pop() {
    const Arrival arrival = arrivals_[next_++];
    return arrival;
  }
  [[nodiscard]] std::span<const std::byte> header(const Arrival& arrival) const {
    return {headers_.data() + arrival.header_at, arrival.header_bytes};
  }
  // Call when empty().
  void reset() {
    arrivals_.clear();
    headers_.clear();
    next_ = 0;
  }

 private:
  std::vector<Arrival> arrivals_;
  std::vector<std::byte> headers_;
  std::size_t next_ = 0;
};

}  // namespace sidecar
