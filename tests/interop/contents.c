#include "tests/interop/contents.h"

#include <string.h>

// Of chunk 0.
static uint64_t seed_of(const char* id) {
  uint64_t seed = 0xcbf29ce484222325u;
  for (; *id != '\0'; ++id) seed = (seed ^ (uint8_t)*id) * 0x100000001b3u;
  return seed | 1;
}

static uint64_t word_at(uint64_t seed, size_t byte) { return (seed + byte / 8) * 0x9e3779b97f4a7c15u; }

static size_t word_bytes(size_t size, size_t at) { return size - at < 8 ? size - at : 8; }

void contents_fill(uint8_t* bytes, size_t size, const char* id) {
  const uint64_t seed = seed_of(id);
  for (size_t at = 0; at < size; at += 8) {
    const uint64_t word = word_at(seed, at);
    memcpy(bytes + at, &word, word_bytes(size, at));
  }
}

bool contents_match(const uint8_t* bytes, size_t size, const char* id) {
  const uint64_t seed = seed_of(id);
  for (size_t at = 0; at < size; at += 8) {
    const uint64_t word = word_at(seed, at);
    if (memcmp(bytes + at, &word, word_bytes(size, at)) != 0) return false;
  }
  return true;
}
