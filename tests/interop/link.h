// One connection to a sidecar, over UCX: messages out, messages in. One thread.
#pragma once

#include <ucp/api/ucp.h>

#include "tests/interop/messages.h"

// A message that came, with its payload.
struct arrival {
  struct message message;
  void* announced;   // by a rendezvous, and not fetched yet: UCX's
  uint8_t* payload;  // NULL: none
  size_t payload_bytes;
  struct arrival* next;
};

struct link {
  ucp_context_h context;
  ucp_worker_h worker;
  ucp_ep_h endpoint;
  bool shared_memory;
  bool broken;  // the connection has ended
  bool bad;     // the sidecar broke a rule
  struct arrival *first, **last;
  uint64_t eager_sent, eager_consumed;
  // Over shared memory: that we have not closed is to be read here, and that the sidecar has not, over there.
  volatile uint64_t open_mark;
  int64_t other_pid;
  uint64_t other_open_at, other_open_mark;
};

// Prepares UCX; connects nothing yet. NULL, or what is wrong.
const char* link_prepare(struct link* link, bool shared_memory);
// Connects to host:port, says Hello and waits for the answer. `hello` brings a random `open_mark`.
const char* link_connect(struct link* link, const char* address, const struct hello* hello);

// Returns when UCX needs neither header nor payload any more. False: the connection has ended.
bool link_send(struct link* link, const struct wire_writer* header, const void* payload, size_t bytes);
void arrival_free(struct arrival* arrival);
// What came first; NULL when nothing has within that time.
struct arrival* link_receive(struct link* link, int wait_ms);
// For a payload in shared memory, after it was received: the sidecar meant it until then.
bool link_is_open_there(const struct link* link);

// After Goodbye; also in whatever state a failure has left it.
void link_close(struct link* link);
