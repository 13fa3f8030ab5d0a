// Finds other sidecars: asks a rank's gRPC server for its record and a ticket. Calls run on a thread of their
// own; the loop's thread starts them and gets the outcome through the mailbox.
#pragma once

#include <functional>
#include <memory>

#include "control/backend.h"
#include "control/tickets.h"
#include "core/mailbox.h"
#include "core/ports.h"

namespace sidecar {

class GrpcDirectory final : public Directory {
 public:
  using OnResolved = std::function<void(Rank, const Result<PeerRecord>&)>;

  // `on_resolved` is called on the loop's thread, once per rank that was asked for, also on failure
  // (kUnavailable, with the rank and its address in the text; kInvalidArgument when the peer refuses us for
  // good).
  GrpcDirectory(const Identity& identity, Mailbox& mailbox, Tickets& tickets, OnResolved on_resolved);
  // Cancels what is under way; its outcome is not reported.
  ~GrpcDirectory() override;

  bool knows(Rank rank) const override;
  // While a rank is being asked, asking again adds nothing.
  void resolve(Rank rank) override;
  Status redeem(const Hello& hello) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sidecar
