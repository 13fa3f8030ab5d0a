#include "tests/interop/messages.h"

#include <string.h>

// Places in the union Body.
enum { HELLO = 1, GOODBYE = 3, SEND = 6, RECV = 7, RELEASE = 10, MARK_DONE = 11 };

enum { VERSION_MIN = 1, VERSION_MAX = 2 };
enum { ROLE_CLIENT = 0 };
enum { KIND_TENSOR = 0, DTYPE_U8 = 1 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// --- what a client says ---

void write_hello(struct wire_writer* writer, const struct hello* hello) {
  const struct wire_field fields[] = {
      {4, 8, hello->link},           {6, 8, hello->instance}, {7, 8, hello->to_instance},
      {8, 8, (uint64_t)hello->pid},  {12, 8, hello->open_at}, {13, 8, hello->open_mark},
      {5, 4, (uint32_t)hello->rank}, {9, WIRE_OFFSET, 0},     {10, WIRE_OFFSET, 0},
      {0, 2, VERSION_MIN},           {1, 2, VERSION_MAX},     {2, 1, ROLE_CLIENT}};
  const size_t table = wire_envelope(writer, HELLO, fields, COUNT(fields));
  wire_string(writer, table, 9, hello->node);
  wire_vector(writer, table, 10, 1, hello->ticket, strlen(hello->ticket));
}

void write_goodbye(struct wire_writer* writer) { wire_envelope(writer, GOODBYE, NULL, 0); }

static void write_meta(struct wire_writer* writer, size_t parent, unsigned field, const char* id,
                       uint64_t bytes) {
  const struct wire_field fields[] = {{8, 8, bytes},       {0, WIRE_OFFSET, 0}, {2, 4, 1},
                                      {7, WIRE_OFFSET, 0}, {4, 1, KIND_TENSOR}, {5, 1, DTYPE_U8}};
  const size_t meta = wire_table(writer, parent, field, fields, COUNT(fields));
  wire_vector(writer, meta, 0, 1, id, strlen(id));
  wire_vector(writer, meta, 7, 8, &bytes, 1);  // its shape: one dimension
}

void write_send(struct wire_writer* writer, uint64_t request, const char* id, const void* data, size_t bytes,
                const int32_t* ranks, size_t num_ranks, enum source source) {
  const struct wire_field fields[] = {{0, 8, request},     {6, 8, FOR_EVER},    {1, WIRE_OFFSET, 0},
                                      {2, WIRE_OFFSET, 0}, {3, WIRE_OFFSET, 0}, {7, WIRE_OFFSET, 0},
                                      {4, 1, source}};
  const uint16_t group_end = (uint16_t)num_ranks;
  const size_t table = wire_envelope(writer, SEND, fields, COUNT(fields));
  write_meta(writer, table, 1, id, bytes);
  wire_vector(writer, table, 2, 2, &group_end, 1);
  wire_vector(writer, table, 3, 4, ranks, num_ranks);
  wire_vector(writer, table, 7, 1, data, source == SOURCE_INLINE ? bytes : 0);
}

void write_recv(struct wire_writer* writer, uint64_t request, const char* id, uint64_t timeout_ns,
                bool by_value) {
  const struct wire_field fields[] = {
      {0, 8, request}, {3, 8, timeout_ns}, {1, WIRE_OFFSET, 0}, {4, 1, by_value}};
  const size_t table = wire_envelope(writer, RECV, fields, COUNT(fields));
  wire_vector(writer, table, 1, 1, id, strlen(id));
}

void write_mark_done(struct wire_writer* writer, uint64_t request, const char* id) {
  const struct wire_field fields[] = {{0, 8, request}, {1, WIRE_OFFSET, 0}};
  const size_t table = wire_envelope(writer, MARK_DONE, fields, COUNT(fields));
  wire_vector(writer, table, 1, 1, id, strlen(id));
}

void write_release(struct wire_writer* writer, uint64_t view) {
  const struct wire_field fields[] = {{0, WIRE_OFFSET, 0}, {1, WIRE_OFFSET, 0}};
  const uint32_t once = 1;
  const size_t table = wire_envelope(writer, RELEASE, fields, COUNT(fields));
  wire_vector(writer, table, 0, 8, &view, 1);
  wire_vector(writer, table, 1, 4, &once, 1);
}

// --- what it hears ---

// Up to `bytes_max` of them; more are against the rules.
static size_t copy_bytes(struct wire_reader* reader, size_t table, unsigned id, void* to, size_t bytes_max) {
  size_t count = 0;
  const uint8_t* const elements = wire_elements(reader, table, id, 1, &count);
  if (count > bytes_max) {
    reader->bad = true;
    return 0;
  }
  if (count != 0) memcpy(to, elements, count);
  return count;
}

static void copy_text(struct wire_reader* reader, size_t table, unsigned id, char* to, size_t bytes_max) {
  to[copy_bytes(reader, table, id, to, bytes_max)] = '\0';
}

static void read_hello_ack(struct wire_reader* reader, size_t table, struct hello_ack* ack) {
  ack->code = (unsigned)wire_number(reader, table, 0, 1, 0);
  copy_text(reader, table, 1, ack->text, TEXT_BYTES_MAX);
  ack->version = (unsigned)wire_number(reader, table, 2, 2, 0);
  ack->pid = (int64_t)wire_number(reader, table, 5, 8, 0);
  ack->open_at = wire_number(reader, table, 9, 8, 0);
  ack->open_mark = wire_number(reader, table, 10, 8, 0);
}

static void read_arena(struct wire_reader* reader, size_t table, struct arena* arena) {
  arena->instance = wire_number(reader, table, 0, 8, 0);
  arena->nonce = wire_number(reader, table, 1, 8, 0);
  arena->bytes = wire_number(reader, table, 2, 8, 0);
  copy_text(reader, table, 3, arena->path, NAME_BYTES_MAX);
}

static void read_reply(struct wire_reader* reader, size_t table, struct reply* reply) {
  reply->request = wire_number(reader, table, 0, 8, 0);
  reply->stage = (unsigned)wire_number(reader, table, 1, 1, 0);
  reply->code = (unsigned)wire_number(reader, table, 2, 1, 0);
  copy_text(reader, table, 4, reply->text, TEXT_BYTES_MAX);
  reply->where = (enum where)wire_number(reader, table, 7, 1, 0);
  const size_t meta = wire_child(reader, table, 8);
  if (meta != 0) reply->bytes = wire_number(reader, meta, 8, 8, 0);
  const size_t arena = wire_child(reader, table, 9);
  if (arena != 0) read_arena(reader, arena, &reply->arena);
  reply->offset = wire_number(reader, table, 10, 8, 0);
  reply->view = wire_number(reader, table, 11, 8, 0);
  const size_t here = copy_bytes(reader, table, 12, reply->inline_data, INLINE_BYTES_MAX);
  if (here != (reply->where == WHERE_INLINE ? reply->bytes : 0)) reader->bad = true;
}

bool read_message(const void* header, size_t size, struct message* message) {
  struct wire_reader reader;
  memset(message, 0, sizeof *message);
  const size_t body = wire_open(&reader, header, size, &message->type);
  if (body == 0) return false;
  if (message->type == HELLO_ACK) read_hello_ack(&reader, body, &message->hello_ack);
  if (message->type == CREDIT) message->consumed = wire_number(&reader, body, 0, 8, 0);
  if (message->type == REPLY) read_reply(&reader, body, &message->reply);
  return !reader.bad;
}
