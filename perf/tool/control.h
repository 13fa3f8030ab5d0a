// The connection between the two ends of a measurement: one JSON object a line over TCP. Nothing of what is
// measured goes through it. Failures are thrown: the other end closed it, said {"error": ...}, or was silent.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "core/fd.h"

namespace sidecar::perf {

class Control {
 public:
  explicit Control(Fd socket) : socket_(std::move(socket)) {}
  void say(const nlohmann::json& message) const;
  // Waits. A message with "error" in it is thrown.
  nlohmann::json hear(std::chrono::seconds wait_max);
  // Nothing came for that long: false. The other end has gone: true, and hear() throws.
  [[nodiscard]] bool has_something(std::chrono::milliseconds wait_max) const;
  [[nodiscard]] std::string other_host() const;
  // What ended the other end's part, while it should be at work; empty: nothing did. Takes nothing away.
  [[nodiscard]] std::string ended(std::chrono::milliseconds wait_max) const;

 private:
  Fd socket_;
  std::string unread_;
};

// A listening socket at all addresses; port 0: any free one.
class ControlListener {
 public:
  ControlListener(const std::string& address, std::uint16_t port);
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] Control accept() const;

 private:
  Fd socket_;
  std::uint16_t port_ = 0;
};

// Tries again until the time is up: the other end may be starting.
Control connect_control(const std::string& host, std::uint16_t port, std::chrono::seconds wait_max);

}  // namespace sidecar::perf
