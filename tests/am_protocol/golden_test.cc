// The wire as it was released, byte for byte. The files are written once and never again: an entry of
// samples() without a file gets one with UPDATE_GOLDEN=1, existing files are left alone.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "am_protocol/codec.h"
#include "tests/am_protocol/describe.h"
#include "tests/am_protocol/samples.h"

namespace sidecar {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = SIDECAR_GOLDEN_FOLDER;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// False: the file is there already.
bool write_new(const fs::path& path, const std::string& content) {
  if (fs::exists(path)) return false;
  std::ofstream(path, std::ios::binary) << content;
  return true;
}

std::string encoded(const Message& message) {
  Encoder encoder;
  std::array<std::byte, kHeaderBytesMax> header;
  const std::size_t size = encoder.encode(message, header);
  return {reinterpret_cast<const char*>(header.data()), size};
}

std::string text_of(const Message& message, std::uint64_t payload_bytes) {
  return "payload_bytes " + std::to_string(payload_bytes) + "\n" + describe(message);
}

TEST(Golden, EverySampleHasItsBytes) {
  const bool update = std::getenv("UPDATE_GOLDEN") != nullptr;
  for (const Sample& sample : samples()) {
    const fs::path bytes = kFolder / (sample.name + "_v1.bin");
    if (update && write_new(bytes, encoded(sample.message))) {
      write_new(kFolder / (sample.name + "_v1.txt"), text_of(sample.message, sample.payload_bytes));
    }
    ASSERT_TRUE(fs::exists(bytes)) << sample.name << ": a new sample? UPDATE_GOLDEN=1 writes its files";
    EXPECT_EQ(encoded(sample.message), read_file(bytes)) << sample.name << ": the encoder's bytes changed";
  }
}

TEST(Golden, EveryFileStillMeansWhatItSaysAndEncodesToItself) {
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (entry.path().extension() != ".bin") continue;
    ++files;
    const std::string bytes = read_file(entry.path());
    const std::string text = read_file(fs::path(entry.path()).replace_extension(".txt"));
    const std::uint64_t payload_bytes = std::stoull(text.substr(text.find(' ')));
    Message message;
    const Status status = decode(std::as_bytes(std::span(bytes)), payload_bytes, message);
    ASSERT_TRUE(status) << entry.path() << ": " << to_string(status.error());
    EXPECT_EQ(text_of(message, payload_bytes), text) << entry.path();
    EXPECT_EQ(encoded(message), bytes) << entry.path();
  }
  EXPECT_GE(files, samples().size());
}

}  // namespace
}  // namespace sidecar
