// UCX active messages with nothing around them: the reference that our own path is measured against. One
// worker, shared memory with peer failure detection, one thread that progresses, arms and sleeps on the
// worker's descriptor. A failing UCX call ends the process: this is a measuring tool.
#pragma once

#include <ucp/api/ucp.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace sidecar::perf {

class RawUcx {
 public:
  // Reads the same UCX settings as a sidecar's shared-memory plane; what the environment says wins.
  // `on_message` gets every active message's header and payload, outside of UCX's callback, in order.
  using OnMessage = std::function<void(std::span<const std::byte> header)>;
  explicit RawUcx(OnMessage on_message);
  ~RawUcx();
  RawUcx(const RawUcx&) = delete;
  RawUcx& operator=(const RawUcx&) = delete;

  // On the loopback address, at any free port, which is returned.
  std::uint16_t listen();
  void connect(std::uint16_t port);

  // To the process we connected to. `header` must stay as it is until sent() says so.
  void send(std::span<const std::byte> header);
  [[nodiscard]] bool sent() const { return sending_ == 0; }

  // Progress until there is nothing to do, then sleep until there is. Returns after a message or a wake-up.
  void wait();

 private:
  static ucs_status_t on_am(void* self, const void* header, std::size_t header_bytes, void* data,
                            std::size_t bytes, const ucp_am_recv_param_t* params);
  static void on_connection(ucp_conn_request_h request, void* self);
  bool step();

  OnMessage on_message_;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  ucp_listener_h listener_ = nullptr;
  ucp_ep_h out_ = nullptr;
  std::vector<ucp_ep_h> in_;
  std::vector<std::vector<std::byte>> arrived_;  // recorded by the callback, handled after progress
  std::size_t arrived_count_ = 0;
  int sending_ = 0;
  int fd_ = -1;
};

}  // namespace sidecar::perf
