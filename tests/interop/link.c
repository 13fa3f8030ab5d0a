#define _GNU_SOURCE  // process_vm_readv
#include "tests/interop/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { AM_ID = 1, AM_IDS = 65536, ANSWER_MS = 10000 };
enum { EAGER_BYTES_MAX = 64 << 10, CREDIT_BYTES = 4 << 20 };

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// The word at that place of that process; false: it cannot be read.
static bool word_of(int64_t pid, uint64_t at, uint64_t* word) {
  const struct iovec here = {word, sizeof *word};
  const struct iovec there = {(void*)(uintptr_t)at, sizeof *word};
  return process_vm_readv((pid_t)pid, &here, 1, &there, 1, 0) == (ssize_t)sizeof *word;
}

// --- what comes ---

static ucs_status_t on_unknown_id(void* link, const void* header, size_t header_bytes, void* data,
                                  size_t bytes, const ucp_am_recv_param_t* param) {
  (void)header, (void)header_bytes, (void)data, (void)bytes;
  ((struct link*)link)->bad = true;
  return (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0 ? UCS_ERR_REJECTED : UCS_OK;
}

// A rendezvous is only announced here; link_receive fetches its payload.
static ucs_status_t on_message(void* argument, const void* header, size_t header_bytes, void* data,
                               size_t bytes, const ucp_am_recv_param_t* param) {
  struct link* const link = argument;
  const bool rendezvous = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
  struct arrival* const arrival = calloc(1, sizeof *arrival);
  if (arrival == NULL) abort();
  if (!read_message(header, header_bytes, &arrival->message)) {
    free(arrival);
    link->bad = true;
    return rendezvous ? UCS_ERR_REJECTED : UCS_OK;
  }
  arrival->payload_bytes = bytes;
  if (rendezvous) {
    arrival->announced = data;
  } else if (bytes != 0) {
    arrival->payload = malloc(bytes);
    if (arrival->payload == NULL) abort();
    memcpy(arrival->payload, data, bytes);
  }
  *link->last = arrival;
  link->last = &arrival->next;
  return rendezvous ? UCS_INPROGRESS : UCS_OK;
}

static void on_failure(void* link, ucp_ep_h endpoint, ucs_status_t status) {
  (void)endpoint, (void)status;
  ((struct link*)link)->broken = true;
}

// --- UCX ---

// They must be in the environment before ucp_config_read: ucp_config_modify accepts some of them and ignores
// them.
static void set_environment(bool shared_memory) {
  setenv("UCX_MAX_RNDV_RAILS", "1", 1);
  setenv("UCX_TCP_TX_SEG_SIZE", "64K", 1);
  unsetenv("UCX_PROTO_ENABLE");
  if (!shared_memory) {
    setenv("UCX_TLS", "^sm,self", 1);
    return;
  }
  // Our parent is of our user: if it may be read, so may the sidecar. The address is none, which is another
  // error.
  uint64_t word = 0;
  const bool cma = word_of(getppid(), 8, &word) || errno == EFAULT;
  setenv("UCX_TLS", cma ? "sysv,posix,cma,tcp" : "sysv,posix,tcp", 1);
  setenv("UCX_NET_DEVICES", "lo", 1);
  setenv("UCX_MM_ERROR_HANDLING", "y", 1);
  if (cma) setenv("UCX_CMA_MEMORY_INVALIDATE", "y", 1);
}

const char* link_prepare(struct link* link, bool shared_memory) {
  memset(link, 0, sizeof *link);
  link->last = &link->first;
  link->shared_memory = shared_memory;
  set_environment(shared_memory);
  ucp_config_t* config = NULL;
  if (ucp_config_read(NULL, NULL, &config) != UCS_OK) return "UCX does not accept its settings";
  const ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES, .features = UCP_FEATURE_AM};
  const ucs_status_t status = ucp_init(&params, config, &link->context);
  ucp_config_release(config);
  if (status != UCS_OK) return "UCX does not start";
  const ucp_worker_params_t worker = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                      .thread_mode = UCS_THREAD_MODE_SINGLE};
  if (ucp_worker_create(link->context, &worker, &link->worker) != UCS_OK) return "UCX has no worker";
  // UCX ends a process that gets a message without a handler.
  for (unsigned id = AM_IDS; id-- > 0;) {
    const ucp_am_handler_param_t handler = {.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID |
                                                          UCP_AM_HANDLER_PARAM_FIELD_CB |
                                                          UCP_AM_HANDLER_PARAM_FIELD_ARG,
                                            .id = id,
                                            .cb = id == AM_ID ? on_message : on_unknown_id,
                                            .arg = link};
    if (ucp_worker_set_am_recv_handler(link->worker, &handler) != UCS_OK) return "UCX takes no handler";
  }
  return NULL;
}

static bool parse_address(const char* text, struct sockaddr_in* address) {
  char host[INET_ADDRSTRLEN];
  const char* const colon = strrchr(text, ':');
  if (colon == NULL || (size_t)(colon - text) >= sizeof host) return false;
  memcpy(host, text, (size_t)(colon - text));
  host[colon - text] = '\0';
  memset(address, 0, sizeof *address);
  address->sin_family = AF_INET;
  address->sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
  return inet_pton(AF_INET, host, &address->sin_addr) == 1;
}

// Until it is over; an error also when the connection has ended without UCX's saying so of the request.
static ucs_status_t finish(struct link* link, ucs_status_ptr_t request) {
  if (!UCS_PTR_IS_PTR(request)) return UCS_PTR_STATUS(request);
  ucs_status_t status = UCS_INPROGRESS;
  while ((status = ucp_request_check_status(request)) == UCS_INPROGRESS) {
    if (ucp_worker_progress(link->worker) == 0) poll(NULL, 0, 1);
  }
  ucp_request_free(request);
  return status;
}

static ucs_status_ptr_t begin_send(struct link* link, const struct wire_writer* header, const void* payload,
                                   size_t bytes) {
  const bool eager =
      bytes <= EAGER_BYTES_MAX && link->eager_sent + bytes - link->eager_consumed <= CREDIT_BYTES;
  if (eager) link->eager_sent += bytes;
  const ucp_request_param_t param = {
      .op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
      .flags = UCP_AM_SEND_FLAG_REPLY | (eager ? UCP_AM_SEND_FLAG_EAGER : UCP_AM_SEND_FLAG_RNDV)};
  return ucp_am_send_nbx(link->endpoint, AM_ID, header->bytes, header->size, payload, bytes, &param);
}

const char* link_connect(struct link* link, const char* address, const struct hello* hello) {
  struct sockaddr_in to;
  if (!parse_address(address, &to)) return "the address is not host:port";
  const ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_FLAGS |
                                                UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                                                UCP_EP_PARAM_FIELD_ERR_HANDLER,
                                  .flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER,
                                  .sockaddr = {(const struct sockaddr*)&to, sizeof to},
                                  .err_mode = UCP_ERR_HANDLING_MODE_PEER,
                                  .err_handler = {on_failure, link}};
  struct hello complete = *hello;
  complete.open_at = link->shared_memory ? (uint64_t)(uintptr_t)&link->open_mark : 0;
  if (!link->shared_memory) complete.open_mark = 0;
  link->open_mark = complete.open_mark;
  struct wire_writer header;
  write_hello(&header, &complete);
  if (ucp_ep_create(link->worker, &params, &link->endpoint) != UCS_OK) return "cannot connect";
  // No progress between the two.
  if (finish(link, begin_send(link, &header, NULL, 0)) != UCS_OK) return "the connection failed";
  struct arrival* const answer = link_receive(link, ANSWER_MS);
  if (answer == NULL || answer->message.type != HELLO_ACK) return "no HelloAck came";
  const struct hello_ack ack = answer->message.hello_ack;
  arrival_free(answer);
  if (ack.code != 0) return "the sidecar refused";
  uint64_t seen = 0;
  if (link->shared_memory && ack.open_at != 0 && word_of(ack.pid, ack.open_at, &seen) &&
      seen == ack.open_mark) {
    link->other_pid = ack.pid;
    link->other_open_at = ack.open_at;
    link->other_open_mark = ack.open_mark;
  }
  return NULL;
}

bool link_is_open_there(const struct link* link) {
  uint64_t seen = 0;
  return link->other_pid == 0 ||
         (word_of(link->other_pid, link->other_open_at, &seen) && seen == link->other_open_mark);
}

bool link_send(struct link* link, const struct wire_writer* header, const void* payload, size_t bytes) {
  return !header->full && !link->broken && finish(link, begin_send(link, header, payload, bytes)) == UCS_OK;
}

// Fetches what a rendezvous has announced.
static bool fetch(struct link* link, struct arrival* arrival) {
  arrival->payload = malloc(arrival->payload_bytes);
  if (arrival->payload == NULL) abort();
  void* const announced = arrival->announced;
  arrival->announced = NULL;
  const ucp_request_param_t param = {.op_attr_mask = 0};
  return finish(link, ucp_am_recv_data_nbx(link->worker, announced, arrival->payload, arrival->payload_bytes,
                                           &param)) == UCS_OK &&
         link_is_open_there(link);
}

void arrival_free(struct arrival* arrival) {
  free(arrival->payload);
  free(arrival);
}

struct arrival* link_receive(struct link* link, int wait_ms) {
  const int64_t until = now_ms() + wait_ms;
  for (;;) {
    const bool idle = ucp_worker_progress(link->worker) == 0;
    struct arrival* const arrival = link->first;
    if (arrival != NULL) {
      link->first = arrival->next;
      if (link->first == NULL) link->last = &link->first;
      if (arrival->announced != NULL && !fetch(link, arrival)) {
        link->broken = true;
        arrival_free(arrival);
        return NULL;
      }
      if (arrival->message.type != CREDIT) return arrival;
      link->eager_consumed = arrival->message.consumed;
      arrival_free(arrival);
      continue;
    }
    if (link->broken || now_ms() >= until) return NULL;
    if (idle) poll(NULL, 0, 1);
  }
}

void link_close(struct link* link) {
  link->open_mark = 0;
  if (link->endpoint != NULL) {
    const ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
                                       .flags = link->broken ? UCP_EP_CLOSE_FLAG_FORCE : 0};
    finish(link, ucp_ep_close_nbx(link->endpoint, &param));
  }
  while (link->first != NULL) {
    struct arrival* const arrival = link->first;
    link->first = arrival->next;
    if (arrival->announced != NULL) ucp_am_data_release(link->worker, arrival->announced);
    arrival_free(arrival);
  }
  if (link->worker != NULL) ucp_worker_destroy(link->worker);
  if (link->context != NULL) ucp_cleanup(link->context);
}
