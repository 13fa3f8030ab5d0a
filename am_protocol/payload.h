// A payload that came with a message and waits for the engine's receive() or discard(). UCX's descriptor for
// it outlives the connection; it is ended exactly once, never inside the callback that delivered it.
#pragma once

#include <ucp/api/ucp.h>

#include "core/ports.h"

namespace sidecar {

class Plane;
class UcxTransportImpl;

struct Payload {
  UcxTransportImpl* owner;
  Plane* plane;
  Handle link;          // on which it came
  void* descriptor;     // UCX's; null once it was received or released
  std::uint64_t bytes;  // as told by the callback: any other length would corrupt memory
  bool rendezvous;
  ucs_status_t status;
  Token token;
  Payload* next;  // completion queue
};

}  // namespace sidecar
