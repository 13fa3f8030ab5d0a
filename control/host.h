// The machine as the engine sees it: clock, other processes' memory, other processes' ends. The loop's thread
// only.
#pragma once

#include <memory>
#include <unordered_map>

#include "core/arena.h"
#include "core/arena_map.h"
#include "core/fd.h"
#include "core/loop.h"
#include "core/ports.h"

namespace sidecar {

class LoopHost final : public Host {
 public:
  explicit LoopHost(Loop& loop) : loop_(loop) {}
  ~LoopHost() override;
  LoopHost(const LoopHost&) = delete;
  LoopHost& operator=(const LoopHost&) = delete;

  // Before the first watch_process().
  void set_events(Events& events) { events_ = &events; }
  void set_arena(const Arena& arena) { arena_ = &arena; }

  // That rank's present instance must not be taken for one on this node, whatever it proves.
  void forbid_sharing(Rank rank, InstanceId instance) { forbidden_[rank] = instance; }

  TimeNs now() const override { return Loop::now_ns(); }
  Result<MappedArena> map_arena(const ArenaInfo& arena) override;
  void unmap_arena(InstanceId instance) override { arenas_.erase(instance); }
  bool is_mapped_through(InstanceId sidecar) override {
    return arena_ != nullptr && arena_->mapped_through(sidecar);
  }
  // False also when there is no such process: it may have ended, or live where we cannot see it.
  bool watch_process(std::int64_t pid, Token token) override;
  void unwatch_process(Token token) override;

  [[nodiscard]] std::size_t mapped_arenas() const { return arenas_.size(); }
  [[nodiscard]] std::size_t watched_processes() const { return watches_.size(); }

 private:
  struct Watch {
    Fd pidfd;
    std::uint64_t id = 0;
  };

  Loop& loop_;
  Events* events_ = nullptr;
  const Arena* arena_ = nullptr;
  std::unordered_map<InstanceId, ArenaMap> arenas_;
  std::unordered_map<Token, Watch> watches_;
  std::unordered_map<Rank, InstanceId> forbidden_;
};

}  // namespace sidecar
