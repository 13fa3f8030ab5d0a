// One UCX active-message connection with nothing of ours in it but, if wanted, our loop: what am_lat and
// am_bw measure. The settings are a sidecar's. Failures are thrown.
#pragma once

#include <ucp/api/ucp.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "am_protocol/settings.h"
#include "core/loop.h"
#include "perf/tool/ring.h"

namespace sidecar::perf {

class RawAm final : public EventSource {
 public:
  // `size`: of all messages that will come, `outstanding` of them at once.
  RawAm(PlaneKind kind, std::uint64_t size, std::uint32_t outstanding);
  ~RawAm() override;
  RawAm(const RawAm&) = delete;
  RawAm& operator=(const RawAm&) = delete;

  std::uint16_t listen(const std::string& address);
  void connect(const std::string& host, std::uint16_t port);

  // `bytes` stay as they are until sending() has come down. Not from inside progress().
  void send(std::span<const std::byte> bytes);
  [[nodiscard]] std::uint64_t received() const { return received_; }
  [[nodiscard]] std::uint32_t sending() const { return sending_; }
  [[nodiscard]] bool connected() const { return endpoint_ != nullptr; }
  [[nodiscard]] bool lost() const { return lost_; }
  void check() const;  // throws what went wrong

  // EventSource
  int fd() override { return plane_.fd; }
  bool progress(int budget) override;
  bool arm() override;

 private:
  static ucs_status_t on_am(void* self, const void* header, std::size_t header_bytes, void* data,
                            std::size_t bytes, const ucp_am_recv_param_t* params) noexcept;
  static void on_connection(ucp_conn_request_h request, void* self) noexcept;
  static void on_failure(void* self, ucp_ep_h endpoint, ucs_status_t status) noexcept;
  void open(ucp_ep_params_t params);
  void receive(void* descriptor);
  bool take_records();

  OpenedPlane plane_;
  UcxListener listener_;
  ucp_ep_h endpoint_ = nullptr;
  ucp_conn_request_h request_ = nullptr;  // recorded by UCX's callbacks, acted on after progress
  std::vector<void*> descriptors_;
  const std::uint64_t size_;
  Ring into_;  // where what comes by rendezvous goes
  std::uint64_t received_ = 0;
  std::uint32_t sending_ = 0;
  std::uint32_t receiving_ = 0;
  bool lost_ = false;
  std::string wrong_;
};

// What an end does after each progress: what has come, and what to send next.
enum class Did : std::uint8_t { kNothing, kSomething, kAll };
using Step = std::function<Did()>;

// Who makes progress: our Loop, as a sidecar runs it, or what one would write without one. `poll` is event,
// adaptive or busy.
class Driver {
 public:
  virtual ~Driver() = default;
  // Until `step` says kAll. What it throws is thrown.
  virtual void run(const Step& step) = 0;
};
std::unique_ptr<Driver> make_driver(RawAm& am, bool bare, const std::string& poll);

}  // namespace sidecar::perf
