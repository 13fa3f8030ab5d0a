#include "tests/interop/wire.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they are");

static const uint8_t identifier[4] = {'S', 'D', 'C', '1'};

// --- writing ---

static void align(struct wire_writer* writer, size_t to) { writer->size = (writer->size + to - 1) / to * to; }

// Room for so many bytes, which are 0.
static size_t take(struct wire_writer* writer, size_t bytes) {
  const size_t at = writer->size;
  if (writer->full || at > WIRE_BYTES_MAX || bytes > WIRE_BYTES_MAX - at) {
    writer->full = true;
    return 0;
  }
  writer->size += bytes;
  return at;
}

static void put(struct wire_writer* writer, size_t at, uint64_t value, size_t bytes) {
  if (!writer->full) memcpy(writer->bytes + at, &value, bytes);
}

// A table is preceded by its vtable here: the sizes of both, then for each field where in the table it is.
static size_t put_table(struct wire_writer* writer, const struct wire_field* fields, size_t count) {
  unsigned ids = 0;
  for (size_t i = 0; i < count; ++i) {
    if (fields[i].id >= ids) ids = fields[i].id + 1;
  }
  const size_t vtable_bytes = 4 + 2 * (size_t)ids;
  align(writer, 2);
  const size_t vtable = take(writer, vtable_bytes);
  align(writer, 8);
  const size_t table = take(writer, 4);
  for (size_t i = 0; i < count; ++i) {
    align(writer, fields[i].bytes);
    const size_t at = take(writer, fields[i].bytes);
    put(writer, at, fields[i].value, fields[i].bytes);
    put(writer, vtable + 4 + 2 * (size_t)fields[i].id, at - table, 2);
  }
  put(writer, vtable, vtable_bytes, 2);
  put(writer, vtable + 2, writer->size - table, 2);
  put(writer, table, table - vtable, 4);
  return table;
}

// That field of the table leads to `target`.
static void lead(struct wire_writer* writer, size_t table, unsigned id, size_t target) {
  if (writer->full) return;
  uint32_t back = 0;
  uint16_t within = 0;
  memcpy(&back, writer->bytes + table, 4);
  memcpy(&within, writer->bytes + table - back + 4 + 2 * (size_t)id, 2);
  put(writer, table + within, target - (table + within), 4);
}

size_t wire_envelope(struct wire_writer* writer, unsigned type, const struct wire_field* fields,
                     size_t count) {
  memset(writer, 0, sizeof *writer);
  const size_t root = take(writer, 4);
  const size_t name = take(writer, sizeof identifier);
  memcpy(writer->bytes + name, identifier, sizeof identifier);
  const struct wire_field envelope[] = {{0, 1, type}, {1, WIRE_OFFSET, 0}};
  const size_t table = put_table(writer, envelope, 2);
  put(writer, root, table - root, 4);
  return wire_table(writer, table, 1, fields, count);
}

size_t wire_table(struct wire_writer* writer, size_t parent, unsigned id, const struct wire_field* fields,
                  size_t count) {
  const size_t table = put_table(writer, fields, count);
  lead(writer, parent, id, table);
  return table;
}

// Its length comes first, and its elements are aligned.
void wire_vector(struct wire_writer* writer, size_t parent, unsigned id, unsigned element_bytes,
                 const void* elements, size_t count) {
  align(writer, 4);
  while ((writer->size + 4) % element_bytes != 0) writer->size += 4;
  const size_t length = take(writer, 4);
  const size_t first = take(writer, count * element_bytes);
  put(writer, length, count, 4);
  if (!writer->full && count != 0) memcpy(writer->bytes + first, elements, count * element_bytes);
  lead(writer, parent, id, length);
}

// A zero, which the length does not count, ends a string.
void wire_string(struct wire_writer* writer, size_t parent, unsigned id, const char* text) {
  wire_vector(writer, parent, id, 1, text, strlen(text));
  take(writer, 1);
}

// --- reading ---

static bool inside(struct wire_reader* reader, size_t at, size_t bytes) {
  const bool fits = at <= reader->size && bytes <= reader->size - at;
  if (!fits) reader->bad = true;
  return fits;
}

static uint64_t get(struct wire_reader* reader, size_t at, size_t bytes) {
  uint64_t value = 0;
  if (inside(reader, at, bytes)) memcpy(&value, reader->bytes + at, bytes);
  return value;
}

// Where that field is; 0: absent.
static size_t field_of(struct wire_reader* reader, size_t table, unsigned id) {
  const int64_t back = (int32_t)get(reader, table, 4);
  const size_t vtable = (size_t)((int64_t)table - back);
  const size_t entry = 4 + 2 * (size_t)id;
  if (entry + 2 > get(reader, vtable, 2)) return 0;
  const size_t within = get(reader, vtable + entry, 2);
  return within == 0 ? 0 : table + within;
}

size_t wire_open(struct wire_reader* reader, const void* bytes, size_t size, unsigned* type) {
  *reader = (struct wire_reader){bytes, size, false};
  if (!inside(reader, 0, 8) || memcmp(reader->bytes + 4, identifier, sizeof identifier) != 0) return 0;
  const size_t envelope = get(reader, 0, 4);
  *type = (unsigned)wire_number(reader, envelope, 0, 1, 0);
  const size_t body = wire_child(reader, envelope, 1);
  return reader->bad ? 0 : body;
}

uint64_t wire_number(struct wire_reader* reader, size_t table, unsigned id, unsigned bytes, uint64_t absent) {
  const size_t field = field_of(reader, table, id);
  return field == 0 ? absent : get(reader, field, bytes);
}

size_t wire_child(struct wire_reader* reader, size_t table, unsigned id) {
  const size_t field = field_of(reader, table, id);
  return field == 0 ? 0 : field + get(reader, field, 4);
}

const uint8_t* wire_elements(struct wire_reader* reader, size_t table, unsigned id, unsigned element_bytes,
                             size_t* count) {
  *count = 0;
  const size_t vector = wire_child(reader, table, id);
  if (vector == 0) return NULL;
  const size_t length = get(reader, vector, 4);
  if (!inside(reader, vector + 4, length * element_bytes)) return NULL;
  *count = length;
  return reader->bytes + vector + 4;
}
