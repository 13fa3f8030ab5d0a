// Chunks that no client is here to get (DESIGN 9): kept for a while, since executors are respawned, then
// freed. Any client of this sidecar may ask for anything it holds, so one that is registered is enough.
#include <algorithm>

#include "core/engine.h"
#include "core/log.h"

namespace sidecar {

// After a client has come or gone.
void Engine::note_clients() {
  for (const Client* c = clients_.all().front(); c != nullptr; c = ClientTable::ClientList::next(c)) {
    if (c->gone) continue;
    alone_since_ = kNever;
    return;
  }
  if (alone_since_ == kNever) alone_since_ = host_.now();
}

// A few at a time: there may be millions. They go as if they had been marked done; a recv that comes too late
// is told what happened.
void Engine::free_orphans() {
  const TimeNs now = host_.now();
  for (std::size_t freed = 0; alone_since_ != kNever; ++freed) {
    ChunkEntry* const entry = store_.ready().front();
    if (entry == nullptr || now - std::max(alone_since_, entry->ready_since) < options_.orphan_grace) break;
    if (freed == kOrphansAtOnce) return set_timer(orphans_, Timer::kOrphans, nullptr, now + kMillisecond);
    Datum& datum = *entry->datum;
    ++counters_.orphans_freed;
    counters_.orphan_bytes_freed += entry->bytes;
    ++orphans_burst_;
    orphan_bytes_burst_ += entry->bytes;
    datum.done.add(entry->chunk);
    datum.gone.add(entry->chunk);
    free_entry(*entry, nullptr);
    tidy(&datum);
  }
  if (orphans_burst_ == 0) return;
  LOG_WARN("freed {} chunks of {} bytes: for {} s no client was here to get them", orphans_burst_,
           orphan_bytes_burst_, options_.orphan_grace / kSecond);
  orphans_burst_ = orphan_bytes_burst_ = 0;
}

}  // namespace sidecar
