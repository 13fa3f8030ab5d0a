// A peer without manners: bare UCX, no transport of ours. Says whatever a test wants it to.
#pragma once

#include <gtest/gtest.h>
#include <ucp/api/ucp.h>

#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "am_protocol/address.h"
#include "am_protocol/am_ids.h"
#include "am_protocol/codec.h"

namespace sidecar::testing {

class RawPeer {
 public:
  explicit RawPeer(std::string_view address, const char* transports = "tcp") {
    ucp_config_t* config = nullptr;
    EXPECT_EQ(ucp_config_read(nullptr, nullptr, &config), UCS_OK);
    EXPECT_EQ(ucp_config_modify(config, "TLS", transports), UCS_OK);
    EXPECT_EQ(ucp_config_modify(config, "MAX_RNDV_RAILS", "1"),
              UCS_OK);  // both sides must choose the same lanes
    ucp_params_t params{};
    params.field_mask = UCP_PARAM_FIELD_FEATURES;
    params.features = UCP_FEATURE_AM;
    EXPECT_EQ(ucp_init(&params, config, &context_), UCS_OK);
    ucp_config_release(config);
    ucp_worker_params_t worker_params{};
    EXPECT_EQ(ucp_worker_create(context_, &worker_params, &worker_), UCS_OK);
    ucp_am_handler_param_t handler{};
    handler.field_mask =
        UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
    handler.id = kAmId;
    handler.cb = on_message;
    handler.arg = this;
    EXPECT_EQ(ucp_worker_set_am_recv_handler(worker_, &handler), UCS_OK);
    const auto socket = parse_address(address, HostNames::kRefuse);
    ucp_ep_params_t ep_params{};
    ep_params.field_mask = UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_FLAGS |
                           UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
    ep_params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
    ep_params.sockaddr = {socket->get(), socket->length};
    ep_params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    ep_params.err_handler = {on_error, this};
    EXPECT_EQ(ucp_ep_create(worker_, &ep_params, &endpoint_), UCS_OK);
  }
  ~RawPeer() {
    ucp_request_param_t param{};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    param.flags = UCP_EP_CLOSE_FLAG_FORCE;
    ucp_ep_close_nbx(endpoint_, &param);
    for (int i = 0; i < 1000 || pending_ > 0; ++i) progress();
    ucp_worker_destroy(worker_);
    ucp_cleanup(context_);
  }
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  void progress() { ucp_worker_progress(worker_); }

  static constexpr unsigned kEager = UCP_AM_SEND_FLAG_REPLY | UCP_AM_SEND_FLAG_EAGER;
  static constexpr unsigned kRendezvous = UCP_AM_SEND_FLAG_REPLY | UCP_AM_SEND_FLAG_RNDV;

  // Memory is kept until the peer is gone.
  void send(unsigned id, std::span<const std::byte> header, std::span<const std::byte> payload = {},
            unsigned flags = kEager) {
    if (closed) return;
    kept_.emplace_back(header.begin(), header.end());
    kept_.emplace_back(payload.begin(), payload.end());
    const auto& data = kept_.back();
    const auto& head = kept_[kept_.size() - 2];
    ucp_request_param_t param{};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
    param.flags = flags;
    param.cb.send = on_sent;
    param.user_data = this;
    const auto request =
        ucp_am_send_nbx(endpoint_, id, head.data(), head.size(), data.data(), data.size(), &param);
    if (UCS_PTR_IS_PTR(request)) ++pending_;
  }
  void send(const Message& message, std::span<const std::byte> payload = {}, unsigned flags = kEager) {
    send(kAmId, encoded(message), payload, flags);
  }
  std::vector<std::byte> encoded(const Message& message) {
    std::vector<std::byte> header(kHeaderBytesMax);
    header.resize(encoder_.encode(message, std::span<std::byte, kHeaderBytesMax>(header)));
    return header;
  }

  bool closed = false;  // the other side, or the connection, is gone
  std::vector<Message> messages;
  [[nodiscard]] int pending() const { return pending_; }

 private:
  static ucs_status_t on_message(void* self, const void* header, size_t header_bytes, void*, size_t bytes,
                                 const ucp_am_recv_param_t*) {
    auto& messages = static_cast<RawPeer*>(self)->messages;
    EXPECT_TRUE(
        decode({static_cast<const std::byte*>(header), header_bytes}, bytes, messages.emplace_back(Ping{})));
    return UCS_OK;
  }
  static void on_error(void* self, ucp_ep_h, ucs_status_t) { static_cast<RawPeer*>(self)->closed = true; }
  static void on_sent(void* request, ucs_status_t, void* self) {
    --static_cast<RawPeer*>(self)->pending_;
    ucp_request_free(request);
  }

  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  ucp_ep_h endpoint_ = nullptr;
  Encoder encoder_;
  std::deque<std::vector<std::byte>> kept_;
  int pending_ = 0;
};

}  // namespace sidecar::testing
