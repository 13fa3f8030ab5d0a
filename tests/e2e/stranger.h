// Bare UCX over TCP, connected to a sidecar's network listener: it can send what no sidecar and no client
// would.
#pragma once

#include <arpa/inet.h>
#include <ucp/api/ucp.h>

#include <optional>
#include <string>
#include <vector>

#include "am_protocol/codec.h"
#include "core/check.h"
#include "tests/e2e/cluster.h"

namespace sidecar::e2e {

inline constexpr unsigned kAmId = 1;  // the protocol's

class Stranger {
 public:
  explicit Stranger(const std::string& address) {
    ucp_config_t* config = nullptr;
    CHECK(ucp_config_read(nullptr, nullptr, &config) == UCS_OK);
    CHECK(ucp_config_modify(config, "TLS", "tcp") == UCS_OK);
    CHECK(ucp_config_modify(config, "MAX_RNDV_RAILS", "1") ==
          UCS_OK);  // as the sidecar, or they do not connect
    ucp_params_t params{};
    params.field_mask = UCP_PARAM_FIELD_FEATURES;
    params.features = UCP_FEATURE_AM;
    CHECK(ucp_init(&params, config, &context_) == UCS_OK);
    ucp_config_release(config);
    ucp_worker_params_t worker{};
    CHECK(ucp_worker_create(context_, &worker, &worker_) == UCS_OK);
    // UCX ends a process that gets a message without a handler.
    ucp_am_handler_param_t handler{};
    handler.field_mask =
        UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
    handler.id = kAmId;
    handler.cb = [](void* self, const void* header, size_t size, void*, size_t, const ucp_am_recv_param_t*) {
      const auto* bytes = static_cast<const std::byte*>(header);
      static_cast<Stranger*>(self)->answers_.emplace_back(bytes, bytes + size);
      return UCS_OK;
    };
    handler.arg = this;
    CHECK(ucp_worker_set_am_recv_handler(worker_, &handler) == UCS_OK);
    connect(address);
  }
  ~Stranger() {
    close();
    ucp_worker_destroy(worker_);
    ucp_cleanup(context_);
  }
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;

  // Sends and makes progress for a moment. Whether it succeeds is the sidecar's business.
  void send(unsigned id, std::vector<std::byte> header, std::size_t payload_bytes = 0,
            bool rendezvous = false) {
    headers_.push_back(std::move(header));  // UCX reads it until the send is complete
    payload_.resize(std::max(payload_.size(), std::size_t{1} << 20));
    ucp_request_param_t params{};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    params.flags = (rendezvous ? UCP_AM_SEND_FLAG_RNDV : UCP_AM_SEND_FLAG_EAGER) | UCP_AM_SEND_FLAG_REPLY;
    void* const request = ucp_am_send_nbx(endpoint_, id, headers_.back().data(), headers_.back().size(),
                                          payload_.data(), payload_bytes, &params);
    if (UCS_PTR_IS_PTR(request)) requests_.push_back(request);
    progress(std::chrono::milliseconds(2));
  }
  void progress(milliseconds time) {
    const auto until = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < until) ucp_worker_progress(worker_);
  }
  [[nodiscard]] bool broken() const { return broken_; }
  // The sidecar closes the connection, at the latest some time after it said why.
  [[nodiscard]] bool is_thrown_out() {
    for (int i = 0; i < 500 && !broken_; ++i) progress(milliseconds(10));
    return broken_;
  }
  [[nodiscard]] const std::vector<std::vector<std::byte>>& answers() const { return answers_; }
  // The last answer, if it is one of that kind and more than `before` have come.
  template <class Kind>
  [[nodiscard]] std::optional<Kind> answer_after(std::size_t before) {
    for (int i = 0; i < 1000 && answers_.size() <= before && !broken_; ++i) progress(milliseconds(10));
    Message answer;
    if (answers_.size() <= before || !decode(answers_.back(), 0, answer)) return std::nullopt;
    const Kind* const kind = std::get_if<Kind>(&answer);
    return kind != nullptr ? std::optional(*kind) : std::nullopt;
  }

 private:
  void connect(const std::string& address) {
    const std::size_t colon = address.rfind(':');
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(colon + 1))));
    CHECK(inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr) == 1);
    ucp_ep_params_t params{};
    params.field_mask = UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_FLAGS |
                        UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
    params.sockaddr = {reinterpret_cast<const sockaddr*>(&to), sizeof(to)};
    params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
    params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    params.err_handler.cb = [](void* self, ucp_ep_h, ucs_status_t) {
      static_cast<Stranger*>(self)->broken_ = true;
    };
    params.err_handler.arg = this;
    CHECK(ucp_ep_create(worker_, &params, &endpoint_) == UCS_OK);
    progress(milliseconds(50));
  }
  void close() {
    ucp_request_param_t params{};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    params.flags = UCP_EP_CLOSE_FLAG_FORCE;
    void* const request = ucp_ep_close_nbx(endpoint_, &params);
    if (UCS_PTR_IS_PTR(request)) requests_.push_back(request);
    for (void* each : requests_) {
      while (ucp_request_check_status(each) == UCS_INPROGRESS) ucp_worker_progress(worker_);
      ucp_request_free(each);
    }
  }

  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  ucp_ep_h endpoint_ = nullptr;
  bool broken_ = false;
  std::vector<void*> requests_;
  std::vector<std::vector<std::byte>> headers_;
  std::vector<std::byte> payload_;
  std::vector<std::vector<std::byte>> answers_;
};

inline std::vector<std::byte> encoded(const Message& message) {
  Encoder encoder;
  std::vector<std::byte> header(kHeaderBytesMax);
  header.resize(encoder.encode(message, std::span<std::byte, kHeaderBytesMax>(header)));
  return header;
}

}  // namespace sidecar::e2e
