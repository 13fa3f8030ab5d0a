// What the demo sends: files of this machine, and the list of them that the consumers get.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sidecar/failure.h"

namespace sidecar::demo {

struct Datum {
  bool tensor = false;  // a .npy file, sent as a tensor; otherwise a file, sent as a stream of bytes
  std::uint64_t file_bytes = 0;
  std::string id;  // and the file's path
};

// Shared libraries of this machine, the largest first, until there are `bytes_min`. Other files only where
// those are too few. None appears twice under several names.
Expected<std::vector<Datum>> choose_libraries(std::uint64_t bytes_min);
Expected<Datum> tensor_datum(const std::string& path);

// The list as it travels, one line each.
inline constexpr std::string_view kManifestId = "manifest";
std::string format_manifest(const std::vector<Datum>& data);
Expected<std::vector<Datum>> parse_manifest(std::string_view text);
// Where a datum's SHA-256 is found.
std::string hash_id(const Datum& datum);

// A file's bytes, mapped.
class MappedFile {
 public:
  static Expected<std::shared_ptr<const MappedFile>> open(const std::string& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  const std::span<const std::byte> bytes_;
};

}  // namespace sidecar::demo
