// The clients of this sidecar: registered through gRPC, then connected by a link.
#pragma once

#include "core/chunk_store.h"
#include "core/outbox.h"

namespace sidecar {

// Slots that a client may write into and then send, or is filling for a send that is there already.
struct Allocation : RoomWaiter {
  Client* client = nullptr;
  RequestId request = 0;  // that asked for it
  std::uint64_t bytes = 0;
  std::uint64_t unit_bytes = 0;
  Slot* slot = nullptr;  // null: waits for room
  Handle fills;  // the shard that it is filled for, which may be over; not valid: one to be sent later
  TimerNode timer;
  ListHook in_client;
};

struct Client {
  InstanceId instance = 0;
  LinkId link;  // not valid: not connected
  bool connected = false;
  bool gone = false;  // its link ended; it is here only for slots its process may still look at
  std::int64_t pid = 0;
  Token watch = 0;  // for the end of its process; 0: not watched
  std::uint64_t send_unit_bytes = 0;
  std::uint64_t receive_unit_bytes = 0;
  bool leased = false;  // see ClientRegistration
  TimeNs registered = 0;
  std::shared_ptr<const Ranks> group;  // sorted; this sidecar's rank is its first
  std::uint16_t shard = 0;             // which member of it this is
  using SendList = List<Shard, &Shard::in_client>;
  using WaiterList = List<Waiter, &Waiter::in_client>;
  using AllocationList = List<Allocation, &Allocation::in_client>;
  std::uint64_t bytes = 0;    // of `charged` sends and of `allocations`
  std::uint32_t charged = 0;  // sends that are not over, answered or not
  std::uint32_t ids = 0;      // it was the first to name them, and nothing has come of them
  SendList sends;
  WaiterList waiters;
  List<Grant, &Grant::in_client> grants;
  AllocationList allocations;
  ListHook in_all;
};

class ClientTable {
 public:
  using ClientList = List<Client, &Client::in_all>;

  Client* find(InstanceId instance) {
    for (Client* client = all_.front(); client != nullptr; client = ClientList::next(client)) {
      if (client->instance == instance && !client->gone) return client;
    }
    return nullptr;
  }
  // One that is gone, and whose process may still look at something.
  Client* find_gone(InstanceId instance) {
    for (Client* client = all_.front(); client != nullptr; client = ClientList::next(client)) {
      if (client->instance == instance && client->gone) return client;
    }
    return nullptr;
  }
  Client* make() {
    Client* const client = clients_.acquire();
    all_.push_back(client);
    return client;
  }
  void erase(Client* client) {
    all_.remove(client);
    clients_.release(client);
  }
  Client* find(Handle handle) { return clients_.find(handle); }
  [[nodiscard]] Handle handle_of(const Client& client) const { return clients_.handle_of(&client); }
  [[nodiscard]] const ClientList& all() const { return all_; }
  Pool<Allocation>& allocations() { return allocations_; }
  [[nodiscard]] const Pool<Allocation>& allocations() const { return allocations_; }

  // Allocations that have their slots, by offset.
  void index(Allocation* allocation) {
    by_offset_.insert(mix(allocation->slot->offset, 0), allocations_.handle_of(allocation).index);
  }
  void unindex(Allocation* allocation) {
    const std::uint32_t index = allocations_.handle_of(allocation).index;
    CHECK(by_offset_.erase(mix(allocation->slot->offset, 0), [&](std::uint32_t i) { return i == index; }));
  }
  Allocation* find_allocation(const Client& client, std::uint64_t offset) {
    const std::uint32_t at = by_offset_.find(mix(offset, 0), [&](std::uint32_t i) {
      const Allocation* allocation = allocations_.at(i);
      return allocation->slot->offset == offset && allocation->client == &client;
    });
    return at == FlatIndex::kNone ? nullptr : allocations_.at(at);
  }

 private:
  Pool<Client> clients_;
  Pool<Allocation> allocations_;
  ClientList all_;
  FlatIndex by_offset_;
};

}  // namespace sidecar
