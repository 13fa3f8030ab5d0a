#include "control/host.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <string>

#include "core/check.h"

namespace sidecar {

LoopHost::~LoopHost() {
  for (const auto& [token, watch] : watches_) loop_.unwatch(watch.id);
}

Result<MappedArena> LoopHost::map_arena(const ArenaInfo& arena) {
  const bool forbidden = std::any_of(forbidden_.begin(), forbidden_.end(),
                                     [&](const auto& entry) { return entry.second == arena.instance; });
  if (forbidden) return fail(Errc::kUnauthorized, "the settings forbid to share memory with that rank");
  auto known = arenas_.find(arena.instance);
  if (known == arenas_.end()) {
    Result<ArenaMap> map = ArenaMap::open(std::string(arena.path.view()), arena.instance, arena.nonce);
    if (!map) return tl::unexpected(map.error());
    known = arenas_.emplace(arena.instance, *std::move(map)).first;
  }
  return MappedArena{known->second.data(), known->second.bytes()};
}

bool LoopHost::watch_process(std::int64_t pid, Token token) {
  CHECK(events_ != nullptr);
  if (pid <= 0 || pid > std::numeric_limits<pid_t>::max()) return false;
  // By number, because older C libraries have no function for it.
  Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0)));
  if (!pidfd.valid()) return false;
  const Result<std::uint64_t> id = loop_.watch(pidfd.get(), [this, token] {
    watches_.erase(token);
    events_->on_process_gone(token);
  });
  if (!id) return false;
  watches_.insert_or_assign(token, Watch{std::move(pidfd), *id});
  return true;
}

void LoopHost::unwatch_process(Token token) {
  const auto found = watches_.find(token);
  CHECK(found != watches_.end());
  loop_.unwatch(found->second.id);  // before its descriptor is closed
  watches_.erase(found);
}

}  // namespace sidecar
