// The messages that a client needs, as fields: those that it says, written, and those that it hears, read.
// Numbers and their order are those of am_protocol/sidecar_v1.fbs.
#pragma once

#include "tests/interop/wire.h"

#define INLINE_BYTES_MAX 1024
#define NAME_BYTES_MAX 255
#define TEXT_BYTES_MAX 200
#define FOR_EVER UINT64_MAX

enum message_type { HELLO_ACK = 2, CREDIT = 5, REPLY = 13 };  // that a client hears
enum source { SOURCE_INLINE = 0, SOURCE_PAYLOAD = 1 };
enum where { WHERE_NOTHING = 0, WHERE_ARENA = 1, WHERE_INLINE = 2, WHERE_PAYLOAD = 3 };

struct hello {
  int32_t rank;
  uint64_t link, instance, to_instance;
  int64_t pid;
  const char* node;
  const char* ticket;
  uint64_t open_at, open_mark;
};

void write_hello(struct wire_writer* writer, const struct hello* hello);
void write_goodbye(struct wire_writer* writer);
// One chunk, the only one of its datum: a tensor of so many bytes, to one group.
void write_send(struct wire_writer* writer, uint64_t request, const char* id, const void* data, size_t bytes,
                const int32_t* ranks, size_t num_ranks, enum source source);
void write_recv(struct wire_writer* writer, uint64_t request, const char* id, uint64_t timeout_ns,
                bool by_value);
void write_mark_done(struct wire_writer* writer, uint64_t request, const char* id);
// Gives back one grant of that view.
void write_release(struct wire_writer* writer, uint64_t view);

struct arena {
  uint64_t instance, nonce, bytes;
  char path[NAME_BYTES_MAX + 1];
};

struct hello_ack {
  unsigned code, version;
  int64_t pid;
  uint64_t open_at, open_mark;
  char text[TEXT_BYTES_MAX + 1];
};

struct reply {
  uint64_t request;
  unsigned stage, code;
  enum where where;
  uint64_t bytes;  // of the chunk
  struct arena arena;
  uint64_t offset, view;
  char text[TEXT_BYTES_MAX + 1];
  uint8_t inline_data[INLINE_BYTES_MAX];
};

struct message {
  unsigned type;
  uint64_t consumed;  // of a CREDIT
  struct hello_ack hello_ack;
  struct reply reply;
};

// False: the header is bad. Types that a client need not know are read as far as their type.
bool read_message(const void* header, size_t size, struct message* message);
