// Preloaded into a program under test: ends it when UCX is called from a second thread. UCX's workers are
// opened for one thread, and calling them from another corrupts them silently. Speaks up after a hundred
// calls, so that a test can tell that it looked at all.
#include <dlfcn.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace {

std::atomic<pid_t> only_thread{0};
std::atomic<unsigned long> calls{0};

void check(const char* function) {
  const pid_t me = gettid();
  pid_t expected = 0;
  if (only_thread.compare_exchange_strong(expected, me) || expected == me) {
    if (++calls == 100) std::fprintf(stderr, "ucx-thread-guard: 100 calls, one thread\n");
    return;
  }
  std::fprintf(stderr, "ucx-thread-guard: %s called from thread %d, UCX belongs to %d\n", function, me,
               expected);
  std::abort();
}

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define GUARDED(type, name, parameters, arguments)             \
  extern "C" type name parameters {                            \
    static auto* const function = real<decltype(name)>(#name); \
    check(#name);                                              \
    return function arguments;                                 \
  }

GUARDED(unsigned, ucp_worker_progress, (ucp_worker_h worker), (worker))
GUARDED(ucs_status_t, ucp_worker_arm, (ucp_worker_h worker), (worker))
GUARDED(ucs_status_t, ucp_worker_create,
        (ucp_context_h context, const ucp_worker_params_t* params, ucp_worker_h* worker),
        (context, params, worker))
GUARDED(void, ucp_worker_destroy, (ucp_worker_h worker), (worker))
GUARDED(ucs_status_t, ucp_listener_create,
        (ucp_worker_h worker, const ucp_listener_params_t* params, ucp_listener_h* listener),
        (worker, params, listener))
GUARDED(void, ucp_listener_destroy, (ucp_listener_h listener), (listener))
GUARDED(ucs_status_t, ucp_listener_query, (ucp_listener_h listener, ucp_listener_attr_t* attributes),
        (listener, attributes))
GUARDED(ucs_status_t, ucp_listener_reject, (ucp_listener_h listener, ucp_conn_request_h request),
        (listener, request))
GUARDED(ucs_status_t, ucp_worker_query, (ucp_worker_h worker, ucp_worker_attr_t* attributes),
        (worker, attributes))
GUARDED(ucs_status_t, ucp_worker_get_efd, (ucp_worker_h worker, int* fd), (worker, fd))
GUARDED(ucs_status_t, ucp_worker_set_am_recv_handler,
        (ucp_worker_h worker, const ucp_am_handler_param_t* params), (worker, params))
GUARDED(void, ucp_ep_print_info, (ucp_ep_h endpoint, FILE* stream), (endpoint, stream))
GUARDED(ucs_status_t, ucp_ep_create, (ucp_worker_h worker, const ucp_ep_params_t* params, ucp_ep_h* endpoint),
        (worker, params, endpoint))
GUARDED(ucs_status_ptr_t, ucp_ep_close_nbx, (ucp_ep_h endpoint, const ucp_request_param_t* params),
        (endpoint, params))
GUARDED(ucs_status_ptr_t, ucp_am_send_nbx,
        (ucp_ep_h endpoint, unsigned id, const void* header, size_t header_length, const void* buffer,
         size_t count, const ucp_request_param_t* params),
        (endpoint, id, header, header_length, buffer, count, params))
GUARDED(ucs_status_ptr_t, ucp_am_recv_data_nbx,
        (ucp_worker_h worker, void* data, void* buffer, size_t count, const ucp_request_param_t* params),
        (worker, data, buffer, count, params))
GUARDED(void, ucp_am_data_release, (ucp_worker_h worker, void* data), (worker, data))
GUARDED(void, ucp_request_free, (void* request), (request))
