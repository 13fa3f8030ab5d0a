// One call under way.
#pragma once

#include <memory>
#include <optional>
#include <variant>

#include "client/pin.h"
#include "client/releases.h"
#include "core/messages.h"
#include "core/timer_heap.h"
#include "sidecar/data.h"
#include "sidecar/future.h"

namespace sidecar::client_internal {

template <class T>
using StatePtr = std::shared_ptr<detail::State<T>>;

enum class OpKind : std::uint8_t { kSend, kRecv, kAllocate, kPlain };  // plain: MarkDone, CloseStream

// A send's bytes on their way into the arena, by this process's hand.
struct Fill {
  ConstBytes from;
  std::uint64_t begin = 0;  // where they go in the chunk,
  std::uint64_t of = 0;     // whose size this is
  bool has_room = false;
  std::uint64_t slot = 0;  // where the chunk is
  std::uint64_t done = 0;  // bytes
};

struct Op {
  OpKind kind = OpKind::kPlain;
  RequestId request = 0;
  std::variant<StatePtr<void>, StatePtr<View>, StatePtr<Buffer>> result;
  std::uint64_t timeout_ns = kNever;  // what the sidecar was told
  TimerNode timer;                    // the client's own, later deadline, for a sidecar that does not answer
  TimeNs ends_at = kNever;            // of the call itself
  bool cancelled = false;
  bool reported =
      false;  // the caller has its result; the op lives on because the transport still uses its memory

  // Send.
  StatePtr<void> captured;
  std::shared_ptr<const void> payload_owner;  // packed copy, the buffer sent, or the GPU event
  bool sending = false;  // the transport reads the payload: the caller must not have it back
  bool captured_by_sidecar = false;
  bool read_by_sidecar = false;  // kDevice: the sidecar itself reads the caller's memory, until it says so
  std::optional<Expected<void>> outcome;  // known, but still `sending`
  std::uint64_t slot = 0;                 // a buffer in the arena
  Epoch slot_epoch = 0;                   // and whose connection's it is
  bool has_slot = false;
  std::unique_ptr<Fill> fill;  // until all is copied

  // Recv.
  DataId id;
  ChunkIndex chunk = 0;
  bool by_value = false;
  std::shared_ptr<View::Content> arriving;  // the transport writes into it

  // Allocate.
  std::shared_ptr<Buffer::Content> wanted;  // dtype, shape and size; becomes the buffer
};

// Private memory, aligned as arena slots are.
class PrivateBytes {
 public:
  explicit PrivateBytes(std::uint64_t bytes)
      : data_(static_cast<std::byte*>(::operator new(bytes == 0 ? 1 : bytes, kAlign))) {}
  ~PrivateBytes() { ::operator delete(data_, kAlign); }
  PrivateBytes(const PrivateBytes&) = delete;
  PrivateBytes& operator=(const PrivateBytes&) = delete;
  [[nodiscard]] std::byte* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlign{kSlotAlign};
  std::byte* data_;
};

// A view into an arena: gives its grant up when the last copy goes.
struct SharedContent final : View::Content {
  std::shared_ptr<Keeper> keeper;
  std::shared_ptr<void> mapping;
  Pin* pin = nullptr;  // of `mapping`
  std::uint64_t grant = 0;
  Epoch epoch = 0;
  std::shared_ptr<const Connection> connection;  // goes before `keeper`
  ~SharedContent() override { keeper->give_up_view(grant, epoch); }
};

// A view with bytes of its own.
struct OwnedContent final : View::Content {
  explicit OwnedContent(std::uint64_t size) : memory(size) {}
  PrivateBytes memory;
};

// Memory in the arena, given back unless it was sent.
struct SlotContent final : Buffer::Content {
  std::shared_ptr<Keeper> keeper;
  std::shared_ptr<void> mapping;
  Pin* pin = nullptr;  // of `mapping`
  std::uint64_t slot = 0;
  Epoch epoch = 0;
  std::shared_ptr<const Connection> connection;  // goes before `keeper`
  bool granted = false;
  ~SlotContent() override {
    if (granted) keeper->give_up_slot(slot, epoch);
  }
};

struct PrivateContent final : Buffer::Content {
  explicit PrivateContent(std::uint64_t size) : memory(size) {}
  PrivateBytes memory;
};

}  // namespace sidecar::client_internal
