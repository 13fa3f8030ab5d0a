// Which membership the settings ask for, and what the engine has to hear of it. For sidecard.
#pragma once

#include <functional>
#include <memory>

#include "control/members.h"
#include "control/options.h"
#include "core/engine.h"

namespace sidecar {

// `credentials`: for calls to etcd. `on_usurped`: another process has our rank; on the provider's thread, at
// most once, before leave() returns.
std::shared_ptr<Members> make_members(const Options& options,
                                      const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                      std::function<void()> on_usurped);

// On the loop's thread. `own`: our rank, of which it need not hear.
void tell_engine(Engine& engine, Rank own, const MemberChange& change);

}  // namespace sidecar
