// A client that is none of ours: C, UCX, and what am_protocol/README.md says. Its registration is what
// `sidecarctl register` prints, in its environment:
//
//   papers=$(sidecarctl register --rank 0) && set -a && eval "$papers" && exec interop_peer net
//
// `net` or `local` is the plane. Reads commands, one a line, and answers each with one line, which begins
// with "ok" or "error":
//
//   send ID BYTES RANK...  one group; waits for delivery
//   recv ID MS [value]     -> ok BYTES good|bad arena|inline|payload; `value`: not as a view of an arena
//   hold ID MS             recv as a view, which is kept until the end
//   done ID                marks it done
//
// At the end of its input it says Goodbye.
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "tests/interop/arena.h"
#include "tests/interop/contents.h"
#include "tests/interop/link.h"

enum { LINE_MAX_BYTES = 512, RANKS_MAX = 16, HELD_MAX = 16, ANSWER_MS = 60000 };

struct peer {
  struct link link;
  uint64_t requests;
  uint64_t sidecar;       // its instance
  const char* own_arena;  // and its file
  struct mapping held[HELD_MAX];
  uint64_t held_views[HELD_MAX];
  size_t num_held;
};

static const char* from_registration(const char* name) {
  const char* const value = getenv(name);
  if (value != NULL) return value;
  fprintf(stderr, "the environment has no %s: it comes from `sidecarctl register`\n", name);
  exit(2);
}

static uint64_t random_number(void) {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) abort();
  return number | 1;  // 0 means: none
}

// --- requests ---

// The final answer to a request, or NULL. Whoever takes it frees it.
static struct arrival* answer_to(struct peer* peer, uint64_t request, int wait_ms) {
  for (;;) {
    struct arrival* const arrival = link_receive(&peer->link, wait_ms);
    if (arrival == NULL) return NULL;
    const struct reply* const reply = &arrival->message.reply;
    if (arrival->message.type == REPLY && reply->request == request && reply->stage == 0) return arrival;
    arrival_free(arrival);  // that the bytes were captured, or of a request that nobody waits for any more
  }
}

static struct arrival* ask(struct peer* peer, const struct wire_writer* header, const void* payload,
                           size_t bytes, int wait_ms) {
  if (!link_send(&peer->link, header, payload, bytes)) return NULL;
  return answer_to(peer, peer->requests, wait_ms);
}

static bool failed(const struct peer* peer, const struct arrival* answer) {
  if (answer == NULL) {
    printf("error %s\n", peer->link.broken ? "the connection has ended" : "no answer came");
  } else if (answer->message.reply.code != 0) {
    printf("error %u %s\n", answer->message.reply.code, answer->message.reply.text);
  } else {
    return false;
  }
  return true;
}

static void send_chunk(struct peer* peer, const char* id, size_t bytes, const int32_t* ranks,
                       size_t num_ranks) {
  uint8_t* const data = malloc(bytes + 1);
  if (data == NULL) abort();
  contents_fill(data, bytes, id);
  const bool here = bytes <= INLINE_BYTES_MAX;
  struct wire_writer header;
  write_send(&header, ++peer->requests, id, data, bytes, ranks, num_ranks,
             here ? SOURCE_INLINE : SOURCE_PAYLOAD);
  struct arrival* const answer = ask(peer, &header, here ? NULL : data, here ? 0 : bytes, ANSWER_MS);
  if (!failed(peer, answer)) printf("ok\n");
  if (answer != NULL) arrival_free(answer);
  free(data);
}

static void release(struct peer* peer, struct mapping* mapping, uint64_t view) {
  unmap_arena(mapping);
  struct wire_writer header;
  write_release(&header, view);
  link_send(&peer->link, &header, NULL, 0);
}

// Looks at the chunk where it lies, and gives the view back unless it is to be held.
static bool look(struct peer* peer, const char* id, const struct reply* reply, bool hold) {
  struct mapping mapping;
  const bool neighbour = reply->arena.instance != peer->sidecar;
  const bool good =
      map_arena(&reply->arena, neighbour ? peer->own_arena : NULL, neighbour ? peer->sidecar : 0, &mapping) &&
      reply->offset <= mapping.data_bytes && reply->bytes <= mapping.data_bytes - reply->offset &&
      contents_match(mapping.data + reply->offset, reply->bytes, id);
  if (hold && peer->num_held < HELD_MAX) {
    peer->held_views[peer->num_held] = reply->view;
    peer->held[peer->num_held++] = mapping;
  } else {
    release(peer, &mapping, reply->view);
  }
  return good;
}

static void receive_chunk(struct peer* peer, const char* id, int wait_ms, bool by_value, bool hold) {
  struct wire_writer header;
  write_recv(&header, ++peer->requests, id, (uint64_t)wait_ms * 1000000, by_value);
  struct arrival* const answer = ask(peer, &header, NULL, 0, wait_ms + ANSWER_MS);
  if (!failed(peer, answer)) {
    const struct reply* const reply = &answer->message.reply;
    const char* const places[] = {"nowhere", "arena", "inline", "payload"};
    bool good = false;
    if (reply->where == WHERE_ARENA) good = look(peer, id, reply, hold);
    if (reply->where == WHERE_INLINE) good = contents_match(reply->inline_data, reply->bytes, id);
    if (reply->where == WHERE_PAYLOAD)
      good = answer->payload_bytes == reply->bytes && contents_match(answer->payload, reply->bytes, id);
    printf("ok %llu %s %s\n", (unsigned long long)reply->bytes, good ? "good" : "bad",
           places[reply->where & 3]);
  }
  if (answer != NULL) arrival_free(answer);
}

static void mark_done(struct peer* peer, const char* id) {
  struct wire_writer header;
  write_mark_done(&header, ++peer->requests, id);
  struct arrival* const answer = ask(peer, &header, NULL, 0, ANSWER_MS);
  if (!failed(peer, answer)) printf("ok\n");
  if (answer != NULL) arrival_free(answer);
}

// --- commands ---

static void obey(struct peer* peer, char* line) {
  char* words[RANKS_MAX + 3] = {NULL};
  size_t count = 0;
  char* rest = NULL;
  for (char* word = strtok_r(line, " \n", &rest); word != NULL && count < RANKS_MAX + 3;
       word = strtok_r(NULL, " \n", &rest)) {
    words[count++] = word;
  }
  if (count >= 4 && strcmp(words[0], "send") == 0) {
    int32_t ranks[RANKS_MAX];
    for (size_t i = 3; i < count; ++i) ranks[i - 3] = (int32_t)strtol(words[i], NULL, 10);
    send_chunk(peer, words[1], strtoul(words[2], NULL, 10), ranks, count - 3);
  } else if (count >= 3 && (strcmp(words[0], "recv") == 0 || strcmp(words[0], "hold") == 0)) {
    receive_chunk(peer, words[1], (int)strtol(words[2], NULL, 10), count > 3, words[0][0] == 'h');
  } else if (count == 2 && strcmp(words[0], "done") == 0) {
    mark_done(peer, words[1]);
  } else {
    printf("error there is no such command\n");
  }
}

// Makes progress while it waits. False: there are no more.
static bool next_line(struct peer* peer, char* line) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  while (poll(&input, 1, 1) == 0) ucp_worker_progress(peer->link.worker);
  for (size_t size = 0; size + 1 < LINE_MAX_BYTES; ++size) {
    if (read(STDIN_FILENO, line + size, 1) != 1) return false;
    line[size + 1] = '\0';
    if (line[size] == '\n') return true;
  }
  return false;
}

static const char* connect_as_registered(struct peer* peer, bool local) {
  const char* const problem = link_prepare(&peer->link, local);
  if (problem != NULL) return problem;
  if (strcmp(from_registration("ucx_version"), ucp_get_version_string()) != 0) {
    return "this process uses another UCX than it was registered with";
  }
  char node[NAME_BYTES_MAX + 1] = "";
  gethostname(node, NAME_BYTES_MAX);
  peer->own_arena = from_registration("arena_path");
  peer->sidecar = strtoull(from_registration("sidecar_instance"), NULL, 16);
  const struct hello hello = {.rank = (int32_t)strtol(from_registration("rank"), NULL, 10),
                              .link = random_number(),
                              .instance = strtoull(from_registration("instance"), NULL, 16),
                              .to_instance = peer->sidecar,
                              .pid = getpid(),
                              .node = node,
                              .ticket = from_registration("ticket"),
                              .open_mark = random_number()};
  return link_connect(&peer->link, from_registration(local ? "local_address" : "net_address"), &hello);
}

int main(int argc, char** argv) {
  static struct peer peer;  // its mark has an address that others are told
  if (argc != 2) return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  const char* const problem = connect_as_registered(&peer, strcmp(argv[1], "local") == 0);
  printf("%s%s\n", problem == NULL ? "ok" : "error ", problem == NULL ? "" : problem);
  char line[LINE_MAX_BYTES];
  while (problem == NULL && next_line(&peer, line)) obey(&peer, line);
  for (size_t i = 0; i < peer.num_held; ++i) release(&peer, &peer.held[i], peer.held_views[i]);
  struct wire_writer goodbye;
  write_goodbye(&goodbye);
  if (problem == NULL) link_send(&peer.link, &goodbye, NULL, 0);
  link_close(&peer.link);
  return problem != NULL || peer.link.bad ? 1 : 0;
}
