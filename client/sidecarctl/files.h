// Files and standard streams, read and written whole.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "sidecar/failure.h"

namespace sidecar::ctl {

class Input {
 public:
  // "-": standard input.
  static Expected<Input> open(const std::string& path);
  Input(Input&& other) noexcept;
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  ~Input();

  // Fills `into` unless the end comes before; returns how many bytes there were.
  Expected<std::size_t> read(std::span<std::byte> into);
  // Of a regular file; nothing for a pipe.
  [[nodiscard]] std::optional<std::uint64_t> size() const { return size_; }

 private:
  Input(int fd, bool owned, std::string path);
  int fd_;
  bool owned_;
  std::string path_;
  std::optional<std::uint64_t> size_;
};

class Output {
 public:
  // "-" or empty: standard output. A file that is there keeps its contents until clear().
  static Expected<Output> open(const std::string& path);
  Output(Output&& other) noexcept;
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output();

  // Before the first write.
  Expected<void> clear();
  Expected<void> write(std::span<const std::byte> bytes);
  // At the file's beginning; seekable() only.
  Expected<void> rewrite_start(std::span<const std::byte> bytes);
  [[nodiscard]] bool seekable() const { return seekable_; }
  [[nodiscard]] bool terminal() const;

 private:
  Output(int fd, bool owned, std::string path);
  int fd_;
  bool owned_;
  std::string path_;
  bool seekable_ = false;
};

}  // namespace sidecar::ctl
