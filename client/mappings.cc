#include "client/mappings.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "core/log.h"

namespace sidecar::client_internal {

const MappedRegion* Mappings::get(const ArenaInfo& arena, bool writable) {
  for (const Entry& entry : entries_) {
    if (entry.arena.instance == arena.instance && entry.writable == writable) {
      return entry.mapping.data == nullptr ? nullptr : &entry.mapping;
    }
  }
  drop_gone();
  Entry entry{arena, writable, {}};
  if (arena.path.empty()) {
    LOG_DEBUG("the arena of instance {:x} cannot be shared: its bytes will be sent", arena.instance);
  } else if (Result<MappedRegion> mapped = map_(arena, writable); mapped) {
    entry.mapping = std::move(*mapped);
  } else {
    LOG_WARN_LIMITED("cannot map {} ({}): its bytes will be sent instead", arena.path.view(),
                     to_string(mapped.error()));
  }
  entries_.push_back(std::move(entry));
  return entries_.back().mapping.data == nullptr ? nullptr : &entries_.back().mapping;
}

void Mappings::drop_gone() {
  std::erase_if(entries_, [](const Entry& entry) {
    if (entry.mapping.keep.use_count() > 1) return false;  // a view needs it
    return ::access(std::string(entry.arena.path.view()).c_str(), F_OK) != 0;
  });
}

}  // namespace sidecar::client_internal
