#include "core/memory.h"

#include "core/check.h"
#include "core/guard.h"

namespace sidecar {
namespace {

std::uint64_t share_of(std::uint64_t bytes, double share) {
  CHECK(share >= 0.0 && share < 1.0);
  const auto part = static_cast<std::uint64_t>(static_cast<double>(bytes) * share);
  return std::max(part / kSlotAlign, std::uint64_t{1}) * kSlotAlign;
}

}  // namespace

Memory::Memory(const MemoryOptions& options)
    : arena_(options.arena),
      instance_(options.instance),
      send_end_(share_of(options.arena.size(), options.send_share)),
      receive_end_(options.arena.size() / kSlotAlign * kSlotAlign -
                   share_of(options.arena.size(), options.reserve_share)),
      send_(0, send_end_),
      receive_(send_end_, receive_end_ - send_end_),
      reserve_(receive_end_, options.arena.size() / kSlotAlign * kSlotAlign - receive_end_) {}

Slot* Memory::make(std::optional<std::uint64_t> offset, std::uint64_t bytes) {
  if (!offset) return nullptr;
  Slot* const slot = slots_.acquire();
  slot->data = arena_.data() + *offset;
  slot->offset = *offset;
  slot->bytes = bytes;
  slot->references = 1;
  slot->arena = instance_;
  return slot;
}

Slot* Memory::take_send(std::uint64_t bytes, std::uint64_t unit_bytes) {
  return make(send_.allocate(bytes, unit_bytes), bytes);
}

Slot* Memory::make_guarded(const Slab& slab, std::optional<std::uint64_t> offset, std::uint64_t bytes) {
  Slot* const slot = make(offset, bytes);
  if (slot != nullptr) fill_guard(slot->data, bytes, slab.taken_bytes(*offset));
  return slot;
}

Slot* Memory::take_wanted(std::uint64_t bytes, std::uint64_t unit_bytes) {
  if (Slot* slot = make_guarded(receive_, receive_.allocate(bytes, unit_bytes), bytes)) return slot;
  return make_guarded(reserve_, reserve_.allocate(bytes, unit_bytes), bytes);
}

Slot* Memory::take_unwanted(std::uint64_t bytes, std::uint64_t unit_bytes, std::uint64_t spare) {
  const std::optional<std::uint64_t> offset = receive_.allocate(bytes, unit_bytes);
  if (offset && spare > reserve_.largest()) {
    const std::optional<std::uint64_t> probe = receive_.allocate(spare, unit_bytes);
    if (!probe) {
      receive_.free({*offset, bytes});
      return nullptr;
    }
    receive_.free({*probe, spare});
  }
  return make_guarded(receive_, offset, bytes);
}

Slot* Memory::take_foreign(const std::byte* data, std::uint64_t offset, std::uint64_t bytes, InstanceId arena,
                           Rank owner, Sequence chunk_ref) {
  ++foreign_;
  Slot* const slot = slots_.acquire();
  slot->data = const_cast<std::byte*>(data);  // never written: foreign slots are only read and forwarded
  slot->offset = offset;
  slot->bytes = bytes;
  slot->references = 1;
  slot->foreign = true;
  slot->arena = arena;
  slot->owner = owner;
  slot->chunk_ref = chunk_ref;
  return slot;
}

bool Memory::release(Slot* slot) {
  CHECK(slot->references > 0);
  if (--slot->references > 0) return false;
  if (slot->foreign) return true;
  if (!leave_bytes_) scrub(slot->data, slot->bytes);
  if (slot->offset < send_end_) {
    send_.free({slot->offset, slot->bytes});
    send_freed_ = true;
  } else {
    // What is received is written by us alone, so an overrun is our mistake. In the send region clients
    // write.
    Slab& slab = slot->offset < receive_end_ ? receive_ : reserve_;
    check_guard(slot->data, slot->bytes, slab.taken_bytes(slot->offset));
    slab.free({slot->offset, slot->bytes});
    receive_freed_ = true;
  }
  slots_.release(slot);
  return false;
}

std::uint64_t Memory::references() {
  std::uint64_t sum = 0;
  slots_.for_each([&](const Slot& slot) { sum += slot.references; });
  return sum;
}

void Memory::check_invariants() const {
  send_.check_invariants();
  receive_.check_invariants();
  reserve_.check_invariants();
}

}  // namespace sidecar
