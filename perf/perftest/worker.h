// UCX as ucx_perftest uses it, on our loop: one worker, one endpoint made from the other side's worker
// address, messages with active-message id 1 in both directions. Its settings are UCX's own and the
// environment's, like a stock perftest's, not a sidecar's: the two must choose the same lanes.
#pragma once

#include <memory>
#include <vector>

#include "am_protocol/ucx.h"
#include "core/loop.h"
#include "perf/perftest/layout.h"

namespace sidecar::perf {

class PerftestWorker final : public EventSource {
 public:
  static Result<std::unique_ptr<PerftestWorker>> open(const PerftestParams& params);
  // The endpoint must be closed: UCX ends the process when a worker goes that still has something under way.
  ~PerftestWorker() override;
  PerftestWorker(const PerftestWorker&) = delete;
  PerftestWorker& operator=(const PerftestWorker&) = delete;

  Result<std::vector<std::byte>> address() const;
  Status connect(std::span<const std::byte> address);

  // A message of the test, or the byte that ends a stream.
  enum class Message : std::uint8_t { kTest, kEnd };
  void send(Message message = Message::kTest);
  [[nodiscard]] std::uint64_t sent() const { return sent_; }
  [[nodiscard]] std::uint64_t sending() const { return sending_; }  // of those
  [[nodiscard]] std::uint64_t arrived() const { return arrived_; }
  // Progress returns as soon as that many have arrived: somebody wants to act on it.
  void want(std::uint64_t arrived) { wanted_ = arrived; }
  // Takes what was announced and waits for us. True: there was some.
  bool receive();

  // Everything sent has reached the other side. done() says when.
  void flush();
  // The same, and the endpoint is gone.
  void close();
  [[nodiscard]] bool done();

  // The first thing that went wrong.
  [[nodiscard]] const Status& status() const { return status_; }

  // EventSource
  int fd() override { return fd_; }
  bool progress(int budget) override;
  bool arm() override;

 private:
  struct Buffer {
    std::byte* bytes = nullptr;
    ucp_mem_h handle = nullptr;
    std::vector<ucp_dt_iov_t> parts{};  // empty: contiguous
  };

  explicit PerftestWorker(const PerftestParams& params) : params_(params), header_(params.header_bytes) {}
  Status open_worker();
  Status allocate(bool iov, Buffer* buffer);
  void free(Buffer& buffer);
  void describe(const Buffer& buffer, ucp_request_param_t* operation) const;
  void note(ucs_status_t status, const char* what);
  void begin(void* request, const char* what);
  ucs_status_t on_message(void* data, std::size_t bytes, const ucp_am_recv_param_t& param);

  PerftestParams params_;
  std::vector<std::byte> header_;
  UcxContext context_;
  UcxWorker worker_;
  Buffer out_, in_;
  ucp_ep_h endpoint_ = nullptr;
  int fd_ = -1;

  std::uint64_t sent_ = 0, sending_ = 0, arrived_ = 0, wanted_ = 0;
  std::vector<void*> announced_;
  void* request_ = nullptr;  // of flush() or close()
  const char* request_is_ = "";
  bool closing_ = false;  // the other side closes too: its end is no failure any more
  Status status_;
};

}  // namespace sidecar::perf
