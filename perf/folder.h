// A folder that goes with its owner, however that ends: arenas of killed sidecards are memory that nobody
// would give back.
#pragma once

#include <string>

#include "perf/process.h"

namespace sidecar::perf {

class Folder {
 public:
  // `prefix`: where it lies, and how its name begins. Ends the program with a message when it cannot be made.
  explicit Folder(const std::string& prefix);
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  Process guard_;  // outlives us when we are killed, and removes the folder then
};

}  // namespace sidecar::perf
