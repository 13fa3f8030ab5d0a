// A line on the terminal for transfers that take a while; nothing when stderr is no terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace sidecar::ctl {

class Progress {
 public:
  // `total_bytes`: nothing when it is not known.
  Progress(std::string what, std::optional<std::uint64_t> total_bytes);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void moved(std::uint64_t bytes);
  // Takes the line away, before anything else is printed.
  void clear();

  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] double seconds() const;

 private:
  void show();

  const std::string what_;
  const std::optional<std::uint64_t> total_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point next_;
  std::uint64_t bytes_ = 0;
  const bool terminal_;
  bool shown_ = false;
};

}  // namespace sidecar::ctl
