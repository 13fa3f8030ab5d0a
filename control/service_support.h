// For the services' sources only: they share the way into the loop and the way errors are told.
#pragma once

#include <grpcpp/support/status.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "control/services.h"
#include "control/sidecar.pb.h"

namespace sidecar {

// A loop that takes longer than this to answer is in trouble, and the caller should hear so.
inline constexpr std::chrono::seconds kAskLimit{2};
inline constexpr std::size_t kTicketBytesMax = 64;
static_assert(std::is_same_v<Ticket, FixedText<kTicketBytesMax>>);

grpc::Status to_grpc(const Error& error);
grpc::Status loop_unavailable(bool late);

// Runs `function` on the loop's thread and waits for what it returns. The function may run after this has
// given up, so it must own what it uses (the backend apart).
template <class T>
tl::expected<T, grpc::Status> ask(Mailbox& mailbox, std::function<T()> function) {
  auto promise = std::make_shared<std::promise<T>>();
  std::future<T> answer = promise->get_future();
  const bool posted = mailbox.post(
      [promise = std::move(promise), function = std::move(function)] { promise->set_value(function()); });
  if (!posted) return tl::unexpected(loop_unavailable(false));
  if (answer.wait_for(kAskLimit) != std::future_status::ready) return tl::unexpected(loop_unavailable(true));
  try {
    return answer.get();
  } catch (const std::future_error&) {  // the mailbox was closed, and the promise went with the function
    return tl::unexpected(loop_unavailable(false));
  }
}

// Both sides must speak a common version, and UCX's versions do not understand each other reliably. `who` is
// the caller, for the text: "client", "rank 3".
grpc::Status check_versions(const Identity& identity, const std::string& who, std::uint32_t version_min,
                            std::uint32_t version_max, const std::string& ucx_version);

void fill_arena(const ArenaInfo& arena, v1::Arena* out);

}  // namespace sidecar
