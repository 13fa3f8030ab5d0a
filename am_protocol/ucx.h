// UCX handles that clean up after themselves, and UCX's status codes in our words. With settings.h, plane.h
// and their .cc files the only code that calls UCX to set something up.
#pragma once

#include <ucp/api/ucp.h>

#include <memory>
#include <string>

#include "core/result.h"

namespace sidecar {

struct UcxRelease {
  void operator()(ucp_context_h context) const { ucp_cleanup(context); }
  void operator()(ucp_worker_h worker) const { ucp_worker_destroy(worker); }
  void operator()(ucp_listener_h listener) const { ucp_listener_destroy(listener); }
};
using UcxContext = std::unique_ptr<ucp_context, UcxRelease>;
using UcxWorker = std::unique_ptr<ucp_worker, UcxRelease>;
using UcxListener = std::unique_ptr<ucp_listener, UcxRelease>;

struct UcxHandles {
  UcxContext context;  // in this order: the listener goes first
  UcxWorker worker;
  UcxListener listener;
};

// `what` says what was tried; the figure in the error is UCX's status, negated.
Error ucx_error(ucs_status_t status, const char* what);

// For a failed endpoint: what the error handler's status means to a person.
Error endpoint_error(ucs_status_t status, bool connected);

// "sysv", "tcp" or "sysv+cma": the lanes that carry this endpoint's messages and, if others, its bulk data.
// UCX tells it only as text meant for people (ucp_ep_print_info), which allocates: once per link, not per
// message.
std::string lanes_of(ucp_ep_h endpoint);

}  // namespace sidecar
