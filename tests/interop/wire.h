// FlatBuffers by hand: as much of the format as the headers of this protocol need.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_BYTES_MAX 4096  // of a header

// --- writing ---
// Front to back: an offset leads ahead, so what it leads to is written later.

struct wire_writer {
  size_t size;
  bool full;  // it did not fit; nothing more is written
  uint8_t bytes[WIRE_BYTES_MAX];
};

#define WIRE_OFFSET 4  // bytes of a field that leads elsewhere

// A field that is present. `id`: its place in the schema's table, from 0; a union takes two.
struct wire_field {
  unsigned id;
  unsigned bytes;  // 1, 2, 4 or 8
  uint64_t value;  // of an offset: 0 for now
};

// Begins an Envelope whose body is of that type (its place in the schema's union, from 1); returns the body's
// table.
size_t wire_envelope(struct wire_writer* writer, unsigned type, const struct wire_field* fields,
                     size_t count);
// One more table, to which the field `id` of `parent` leads.
size_t wire_table(struct wire_writer* writer, size_t parent, unsigned id, const struct wire_field* fields,
                  size_t count);
// A vector, to which the field `id` of `parent` leads.
void wire_vector(struct wire_writer* writer, size_t parent, unsigned id, unsigned element_bytes,
                 const void* elements, size_t count);
void wire_string(struct wire_writer* writer, size_t parent, unsigned id, const char* text);

// --- reading ---
// Believes nothing: what leads out of the header counts as absent, and makes the header bad.

struct wire_reader {
  const uint8_t* bytes;
  size_t size;
  bool bad;
};

// The body of an Envelope; 0: it is none.
size_t wire_open(struct wire_reader* reader, const void* bytes, size_t size, unsigned* type);
uint64_t wire_number(struct wire_reader* reader, size_t table, unsigned id, unsigned bytes, uint64_t absent);
// 0: absent.
size_t wire_child(struct wire_reader* reader, size_t table, unsigned id);
// A vector's or a string's first element; NULL, and a count of 0: absent.
const uint8_t* wire_elements(struct wire_reader* reader, size_t table, unsigned id, unsigned element_bytes,
                             size_t* count);
