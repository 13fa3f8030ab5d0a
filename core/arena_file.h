// The file behind a shared arena, as its owner makes it and as others find it.
//
//   sidecar-<instance as 16 hex digits>     flock(LOCK_EX) held by the owner for as long as it lives
//   offset 0                                ArenaHeader
//   offset ArenaHeader::data_offset         the data, data_bytes long
//   fcntl(F_OFD_SETLK, F_RDLCK) on a byte   held by each mapping that another sidecar's word has led to
//
// Owner and readers are on one machine: the header is in its byte order.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "core/fd.h"
#include "core/result.h"
#include "core/types.h"

namespace sidecar {

inline constexpr std::array<char, 8> kArenaMagic{'S', 'I', 'D', 'E', 'C', 'A', 'R', '\n'};
inline constexpr std::uint32_t kArenaVersion = 1;

struct ArenaHeader {
  std::array<char, 8> magic = kArenaMagic;
  std::uint32_t version = kArenaVersion;
  std::uint32_t header_bytes = 48;
  InstanceId instance = 0;
  std::uint64_t nonce = 0;  // random: whoever can read it here shares memory with the owner
  std::uint64_t data_offset = 0;
  std::uint64_t data_bytes = 0;
};
static_assert(sizeof(ArenaHeader) == 48, "no padding: it is what the file holds");

std::string arena_file_name(InstanceId instance);

struct ArenaFile {
  Fd directory;
  std::string name;  // in `directory`
  Fd fd;             // read and write, locked
};

// A new, empty, locked file, of mode 0600, or 0660 and of that group. kNotFound: no such directory.
// kUnauthorized: not writable, or the group is none that we may give a file to. kAlreadyExists: that instance
// has one already.
Result<ArenaFile> create_arena_file(const std::string& directory, InstanceId instance,
                                    std::optional<gid_t> group);

// Says, for as long as `fd` and its copies are open, that this file is mapped because the sidecar `through`
// told where to look.
Status lock_through(int fd, InstanceId through);
// Whether anybody says so now.
bool is_locked_through(int fd, InstanceId through);

// Removes the file if its name still leads to it; never somebody else's.
void unlink_arena_file(const ArenaFile& file);

// Removes arena files that nobody holds and that we may open; returns how many. Safe beside other processes
// that are starting or doing the same.
std::size_t remove_stale_arena_files(const std::string& directory);

}  // namespace sidecar
