#include "core/chunk_store.h"

namespace sidecar {

ChunkStore::~ChunkStore() { CHECK(all_.empty()); }

Datum* ChunkStore::find(const DataId& id, const Hash128& hash) {
  const std::uint32_t at =
      datum_index_.find(hash.low, [&](std::uint32_t i) { return data_.at(i)->id == id; });
  return at == FlatIndex::kNone ? nullptr : data_.at(at);
}

Datum* ChunkStore::make(const DataId& id, const Hash128& hash, TimeNs now) {
  Datum* const datum = data_.acquire();
  datum->id = id;
  datum->hash = hash;
  datum->touched = now;
  take_spare(datum->arrived);
  take_spare(datum->done);
  datum_index_.insert(hash.low, index_of(datum));
  all_.push_back(datum);
  return datum;
}

void ChunkStore::erase(Datum* datum) {
  CHECK(datum->chunks.empty());
  const std::uint32_t index = index_of(datum);
  CHECK(datum_index_.erase(datum->hash.low, [&](std::uint32_t i) { return i == index; }));
  all_.remove(datum);
  keep_spare(datum->arrived);
  keep_spare(datum->done);
  data_.release(datum);
}

void ChunkStore::take_spare(Ranges& ranges) {
  if (spare_.empty()) return;
  ranges = std::move(spare_.back());
  spare_.pop_back();
}

void ChunkStore::keep_spare(Ranges& ranges) {
  if (ranges.room() == 0 || ranges.room() > kRoomKept) return;
  ranges.clear();
  spare_.push_back(std::move(ranges));
}

ChunkEntry* ChunkStore::find(const Datum& datum, ChunkIndex chunk) {
  const std::uint32_t at = chunk_index_.find(key(datum, chunk), [&](std::uint32_t i) {
    const ChunkEntry* entry = chunks_.at(i);
    return entry->datum == &datum && entry->chunk == chunk;
  });
  return at == FlatIndex::kNone ? nullptr : chunks_.at(at);
}

ChunkEntry* ChunkStore::make(Datum& datum, ChunkIndex chunk) {
  ChunkEntry* const entry = chunks_.acquire();
  entry->datum = &datum;
  entry->chunk = chunk;
  chunk_index_.insert(key(datum, chunk), chunks_.handle_of(entry).index);
  datum.chunks.push_back(entry);
  return entry;
}

void ChunkStore::erase(ChunkEntry* entry) {
  CHECK(entry->waiters.empty() && entry->grants.empty() && entry->slot == nullptr &&
        !entry->in_parked.linked());
  const std::uint32_t index = chunks_.handle_of(entry).index;
  CHECK(chunk_index_.erase(key(*entry->datum, entry->chunk), [&](std::uint32_t i) { return i == index; }));
  entry->datum->chunks.remove(entry);
  if (entry->in_ready.linked()) ready_.remove(entry);
  chunks_.release(entry);
}

}  // namespace sidecar
