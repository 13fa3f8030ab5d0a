// A TCP port on the loopback address for a program that must be told its port before it starts.
#pragma once

#include <cstdint>
#include <functional>

namespace sidecar::perf {

// Nobody listens on it now, and no other process that reserves its ports like this gets the same one as long
// as this lives. Below the ports that the kernel gives to outgoing connections.
class ReservedPort {
 public:
  ReservedPort();
  ~ReservedPort();
  ReservedPort(ReservedPort&& other) noexcept;
  ReservedPort& operator=(ReservedPort&&) = delete;
  [[nodiscard]] std::uint16_t number() const { return number_; }

 private:
  std::uint16_t number_ = 0;
  int udp_ = -1;  // the reservation: UDP ports are numbered apart from TCP's, and nobody else here wants them
};

// Waits until somebody listens there, without connecting: some programs serve whoever comes first. False: it
// took ten seconds, or `running` said no.
bool wait_until_listening(std::uint16_t port, const std::function<bool()>& running);

}  // namespace sidecar::perf
