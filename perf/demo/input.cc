#include "perf/demo/input.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>
#include <tuple>

#include "core/fd.h"

namespace sidecar::demo {
namespace {

constexpr const char* kLibraryFolder = "/usr/lib";
constexpr std::uint64_t kFileBytesMin = 64 << 10;
constexpr std::uint64_t kFileBytesMax = 64 << 20;  // several files say more than one giant; those come last
constexpr std::size_t kPathBytesMax = 240;         // leaves room for a suffix in an id of 255 bytes

struct Candidate {
  int preference = 0;  // less is better
  std::uint64_t bytes = 0;
  std::string path;
};

bool is_library(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  return name.ends_with(".so") || name.find(".so.") != std::string::npos;
}

std::vector<Candidate> candidates() {
  namespace fs = std::filesystem;
  std::vector<Candidate> found;
  std::set<std::pair<dev_t, ino_t>> seen;
  std::error_code error;
  auto entry =
      fs::recursive_directory_iterator(kLibraryFolder, fs::directory_options::skip_permission_denied, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const std::string path = entry->path().string();
    struct stat info{};
    if (path.size() > kPathBytesMax || path.find('\n') != std::string::npos) continue;
    if (lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    const auto bytes = static_cast<std::uint64_t>(info.st_size);
    if (bytes < kFileBytesMin || access(path.c_str(), R_OK) != 0) continue;
    if (!seen.emplace(info.st_dev, info.st_ino).second) continue;
    const int preference = (bytes > kFileBytesMax ? 1 : 0) + (is_library(path) ? 0 : 2);
    found.push_back({preference, bytes, path});
  }
  std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
    return std::tie(a.preference, b.bytes, a.path) < std::tie(b.preference, a.bytes, b.path);
  });
  return found;
}

Failure io_failure(const std::string& what) {
  return {Errc::kIo, kNoRank, what + ": " + std::strerror(errno)};
}

}  // namespace

Expected<std::vector<Datum>> choose_libraries(std::uint64_t bytes_min) {
  std::vector<Datum> chosen;
  std::uint64_t bytes = 0;
  for (const Candidate& candidate : candidates()) {
    if (bytes >= bytes_min) break;
    chosen.push_back({false, candidate.bytes, candidate.path});
    bytes += candidate.bytes;
  }
  if (bytes >= bytes_min) return chosen;
  return Failure{Errc::kNotFound, kNoRank,
                 std::string("there are only ") + std::to_string(bytes >> 20) + " MiB of files in " +
                     kLibraryFolder + " that can be read; the demo wants " + std::to_string(bytes_min >> 20)};
}

Expected<Datum> tensor_datum(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return io_failure(path);
  return Datum{true, static_cast<std::uint64_t>(info.st_size), path};
}

std::string format_manifest(const std::vector<Datum>& data) {
  std::string text;
  for (const Datum& datum : data) {
    text += std::string(datum.tensor ? "tensor" : "file") + ' ' + std::to_string(datum.file_bytes) + ' ' +
            datum.id + '\n';
  }
  return text;
}

Expected<std::vector<Datum>> parse_manifest(std::string_view text) {
  std::vector<Datum> data;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    Datum datum;
    std::string kind;
    if (!(words >> kind >> datum.file_bytes) || words.get() != ' ' || !std::getline(words, datum.id)) {
      return Failure{Errc::kInvalidArgument, kNoRank, "the manifest cannot be read: " + line};
    }
    datum.tensor = kind == "tensor";
    data.push_back(datum);
  }
  return data;
}

std::string hash_id(const Datum& datum) { return datum.id + "/sha256"; }

Expected<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info{};
  if (!fd.valid() || fstat(fd.get(), &info) != 0) return io_failure("cannot open " + path);
  const auto bytes = static_cast<std::size_t>(info.st_size);
  void* const data = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) return io_failure("cannot map " + path);
  return std::shared_ptr<const MappedFile>(new MappedFile({static_cast<const std::byte*>(data), bytes}));
}

MappedFile::~MappedFile() { munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size()); }

}  // namespace sidecar::demo
