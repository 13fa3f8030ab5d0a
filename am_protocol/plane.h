// One UCX context with its worker and perhaps a listener: everything that talks to UCX about connections and
// arrivals. UCX's callbacks end here and only record; PlaneOwner::step, called after each progress, acts on
// the records.
#pragma once

#include <string>
#include <vector>

#include "am_protocol/address.h"
#include "am_protocol/inbox.h"
#include "am_protocol/link.h"
#include "am_protocol/payload.h"
#include "am_protocol/settings.h"
#include "am_protocol/transport.h"

namespace sidecar {

class PlaneOwner {
 public:
  // Deals with what the plane has recorded: at most about `budget` arrivals. True: something was done or is
  // left.
  virtual bool step(Plane& plane, int budget) = 0;
  // Something waits for the next step: no sleep now.
  [[nodiscard]] virtual bool has_work() const = 0;
  // Nothing arrives through this plane any more, not even from ourselves. Told again until it is replaced.
  virtual void on_stuck(Plane& plane) = 0;

 protected:
  ~PlaneOwner() = default;
};

class Plane final : public EventSource {
 public:
  Plane(PlaneKind kind, OpenedPlane opened, PlaneOwner& owner, EndpointTable& endpoints,
        TransportCounters& counters);
  // Everything on it must be closed and completed, everybody turned_away(), and settle() called.
  ~Plane() override;
  Plane(const Plane&) = delete;
  Plane& operator=(const Plane&) = delete;

  // Every active-message id gets a handler, then the port opens.
  Status listen(std::string_view address);

  // Both bind `endpoint`; on failure it stays unbound.
  Status connect(const SocketAddress& address, Endpoint* endpoint);
  Status accept(ucp_conn_request_h request, Endpoint* endpoint);
  void reject(ucp_conn_request_h request);
  // Forced: what is under way on it completes with an error, in a later progress. False: a callback will come
  // (`closed` gets the endpoint). May record more of everything. Not for an endpoint that is still
  // connecting.
  bool close(Endpoint* endpoint);

  // EventSource
  int fd() override { return fd_; }
  bool progress(int budget) override;
  bool arm() override;
  void wake() override { touch(); }

  // Progress without acting on anything. True: UCX found something to do.
  bool drain();
  // With every endpoint closed, before the end: lets UCX put away what carried them. A closed endpoint's
  // lanes live on until what was begun on them ends (reads out of other processes go 4 MiB a progress), and a
  // worker that is destroyed before ends the process. What waits for room in a queue that nobody empties may
  // stay.
  void settle();
  void stop_accepting();
  // After stop_accepting(), with every endpoint closed: nobody is left who has just been connecting. UCX 1.13
  // lets such a connection use the listener after its end. To be asked again after more progress.
  bool turned_away();
  // Gives the port back, with connections still open. After stop_accepting() and a while.
  void stop_listening();
  // Another plane has taken its place.
  void retire() { retired_ = true; }
  // UCX still holds something of ours and will not give it back: destroying the worker would end the process.
  UcxHandles abandon() { return std::move(ucx_); }

  [[nodiscard]] PlaneKind kind() const { return kind_; }
  [[nodiscard]] bool local() const { return kind_ == PlaneKind::kLocal; }
  // Something is done with the worker, or with an endpoint on it: it wants progress afterwards.
  void touch() { resting_ = false; }
  [[nodiscard]] ucp_worker_h worker() {
    touch();
    return ucx_.worker.get();
  }
  [[nodiscard]] bool listening() const { return ucx_.listener != nullptr; }
  [[nodiscard]] Name address() const { return listening() ? format_address(address_) : Name(); }
  [[nodiscard]] const std::string& settings() const { return settings_; }
  // UCX is running our callbacks: nothing may be sent or closed.
  [[nodiscard]] bool in_progress() const { return in_progress_; }

  // Records of UCX's callbacks.
  Inbox inbox;
  std::vector<ucp_conn_request_h> requests;
  List<Endpoint, &Endpoint::failed> failed;
  std::vector<Endpoint*> closed;
  // Payloads that were received, and tokens of after_arrived(). They are told one look at UCX later, after
  // all that came with it: on shared memory UCX reads payloads out of a process that may have given up the
  // send, or the connection, long ago and put something else there, and the message that says so stands
  // behind the payload's own.
  struct Asked {
    Handle link;
    Token token;
  };
  struct Received {
    CompletionQueue<Payload> payloads;
    std::vector<Asked> asked;
    [[nodiscard]] bool empty() const { return payloads.empty() && asked.empty(); }
  };
  Received received;          // since UCX was last asked for more
  Received received_earlier;  // before that: to be told once the inbox is empty

 private:
  Status open_endpoint(ucp_ep_params_t params, Endpoint* endpoint, const char* what);
  void register_handlers();
  void reject_requests();
  void listen_for_self();
  bool speak_to_self();
  void heard() { silent_calls_ = 0, spoke_to_self_ns_ = 0; }
  ucs_status_t arrived(std::span<const std::byte> header, void* data, std::size_t bytes,
                       const ucp_am_recv_param_t& param, bool known_id);

  static ucs_status_t on_message(void* plane, const void* header, size_t header_bytes, void* data,
                                 size_t bytes, const ucp_am_recv_param_t* param) noexcept;
  static ucs_status_t on_unknown(void* plane, const void* header, size_t header_bytes, void* data,
                                 size_t bytes, const ucp_am_recv_param_t* param) noexcept;
  static ucs_status_t on_own_word(void* plane, const void* header, size_t header_bytes, void* data,
                                  size_t bytes, const ucp_am_recv_param_t* param) noexcept;
  static void on_request(ucp_conn_request_h request, void* plane) noexcept;
  static void on_failure(void* endpoint, ucp_ep_h ucp, ucs_status_t status) noexcept;
  static void on_closed(void* request, ucs_status_t status, void* endpoint) noexcept;

  PlaneKind kind_;
  PlaneOwner& owner_;
  EndpointTable& endpoints_;
  TransportCounters& counters_;
  UcxHandles ucx_;
  int fd_;
  std::string settings_;
  sockaddr_storage address_{};  // where it listens
  bool in_progress_ = false;
  // Armed, and neither used nor readable since. UCX cannot tell the difference to a process that sleeps all
  // that time: progress would find nothing, and arming again nothing new.
  bool resting_ = false;
  bool retired_ = false;

  // See listen_for_self().
  Endpoint* to_self_ = nullptr;
  const std::uintptr_t own_word_ = reinterpret_cast<std::uintptr_t>(this);  // nobody else's
  std::uint32_t silent_calls_ = 0;  // of UCX's progress, since anything arrived or was last looked into
  TimeNs spoke_to_self_ns_ = 0;     // 0: no answer is due
};

}  // namespace sidecar
