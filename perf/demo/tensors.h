// Tensors with something in them, as .npy files.
#pragma once

#include <string>
#include <vector>

#include "sidecar/failure.h"

namespace sidecar::demo {

// Writes them into `folder`; returns their paths.
Expected<std::vector<std::string>> write_tensors(const std::string& folder);

}  // namespace sidecar::demo
