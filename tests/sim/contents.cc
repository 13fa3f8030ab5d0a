#include "tests/sim/contents.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/hash.h"

namespace sidecar::sim {
namespace {

std::uint64_t seed_of(const ChunkName& name, std::uint64_t salt) {
  return SipHash(salt, name.chunk)(name.id).low;
}

// The pattern's bytes [8 * word, 8 * word + 8).
std::uint64_t pattern(std::uint64_t seed, std::uint64_t word) { return mix(seed, word) | 0x0101; }

}  // namespace

std::string name_of(const ChunkName& name) {
  std::string text;
  for (const char c : name.id) {
    if (c > ' ' && c < 0x7f) {
      text += c;
    } else {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return fmt::format("{}/{}", text, name.chunk);
}

void fill(Bytes bytes, const ChunkName& name, std::uint64_t salt) {
  const std::uint64_t seed = seed_of(name, salt);
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    const std::uint64_t word = pattern(seed, at / 8);
    std::memcpy(bytes.data() + at, &word, std::min<std::size_t>(8, bytes.size() - at));
  }
}

bool matches(ConstBytes bytes, const ChunkName& name, std::uint64_t salt) {
  const std::uint64_t seed = seed_of(name, salt);
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    const std::uint64_t word = pattern(seed, at / 8);
    if (std::memcmp(bytes.data() + at, &word, std::min<std::size_t>(8, bytes.size() - at)) != 0) return false;
  }
  return true;
}

std::optional<std::uint64_t> Contents::identify(ConstBytes bytes, const ChunkName& name) const {
  const auto known = salts_.find(name);
  if (known == salts_.end()) return std::nullopt;
  for (const std::uint64_t salt : known->second) {
    if (matches(bytes, name, salt)) return salt;
  }
  return std::nullopt;
}

}  // namespace sidecar::sim
