// The GPUs of a simulated world: memory of client processes that sidecars copy from, in pieces, each after a
// delay of its own. A copy ends with an error when the process that has the memory dies first, or when the
// test says so.
#pragma once

#include <cstdint>
#include <memory>
#include <set>

#include "core/ports.h"
#include "tests/sim/process.h"

namespace sidecar::sim {

class SimSidecar;

DeviceSource device_source(std::uint64_t name, std::uint64_t offset);

class SimDevice final : public Device {
 public:
  static constexpr std::uint64_t kPieceBytes = 64 << 10;

  explicit SimDevice(SimSidecar& home) : home_(home) {}
  void copy(const DeviceSource& source, Bytes into, Token token) override;
  void cancel(Token token) override {
    if (!writes_on_) cancelled_.insert(token);
  }

  void hold(bool held) { held_ = held; }                                 // nothing goes on until it is let go
  void let_pieces_through(std::uint64_t pieces) { through_ += pieces; }  // while held
  void write_on(bool on) { writes_on_ = on; }                            // cancels come too late
  void fail_next() { fail_next_ = true; }
  [[nodiscard]] std::uint64_t pieces_copied() const { return pieces_copied_; }

 private:
  struct Copy {
    std::uint64_t name, offset;
    Bytes into;
    Token token;
    std::uint64_t done = 0;
    bool fails = false;
  };
  void go_on(const std::shared_ptr<Copy>& copy);

  SimSidecar& home_;
  std::set<Token> cancelled_;
  bool held_ = false;
  bool writes_on_ = false;
  bool fail_next_ = false;
  std::uint64_t through_ = 0;
  std::uint64_t pieces_copied_ = 0;
};

}  // namespace sidecar::sim
