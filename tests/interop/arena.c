#define _GNU_SOURCE  // locks of open files
#include "tests/interop/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct header {
  char magic[8];
  uint32_t version, header_bytes;
  uint64_t instance, nonce, data_at, data_bytes;
};
_Static_assert(sizeof(struct header) == 48, "as it is in the file");

// Tells the arena's owner that it is looked at because that sidecar said so.
static bool lock_for(int file, uint64_t through) {
  struct flock byte = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = (off_t)(through >> 2), .l_len = 1};
  return fcntl(file, F_OFD_SETLK, &byte) == 0;
}

// An arena's owner holds the lock of its file.
static bool is_alive(const char* path) {
  const int file = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return false;
  const bool alive = flock(file, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  close(file);
  return alive;
}

static bool is_meant(const struct header* header, const struct arena* arena, const struct stat* facts) {
  return memcmp(header->magic, "SIDECAR\n", 8) == 0 && header->version == 1 &&
         header->instance == arena->instance && header->nonce == arena->nonce &&
         header->data_at % 4096 == 0 && header->data_at <= (uint64_t)facts->st_size &&
         header->data_bytes <= (uint64_t)facts->st_size - header->data_at;
}

bool map_arena(const struct arena* arena, const char* own, uint64_t through, struct mapping* mapping) {
  *mapping = (struct mapping){NULL, 0, -1};
  if (arena->path[0] == '\0') return false;
  const int file = open(arena->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return false;
  struct header header;
  struct stat facts;
  bool good = fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) &&
              pread(file, &header, sizeof header, 0) == (ssize_t)sizeof header &&
              is_meant(&header, arena, &facts);
  if (good && through != 0) good = lock_for(file, through) && is_alive(own);
  void* const data =
      good ? mmap(NULL, header.data_bytes, PROT_READ, MAP_SHARED, file, (off_t)header.data_at) : MAP_FAILED;
  if (data == MAP_FAILED) {
    close(file);
    return false;
  }
  mapping->data = data;
  mapping->data_bytes = header.data_bytes;
  if (through != 0) {
    mapping->lock = file;
  } else {
    close(file);
  }
  return true;
}

void unmap_arena(struct mapping* mapping) {
  if (mapping->data == NULL) return;
  munmap((void*)(uintptr_t)mapping->data, mapping->data_bytes);
  if (mapping->lock >= 0) close(mapping->lock);
  mapping->data = NULL;
}
