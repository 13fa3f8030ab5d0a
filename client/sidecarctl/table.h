// What the commands that show something print with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sidecar::ctl {

std::string instance_text(std::uint64_t instance);
// Columns as wide as their widest cell; `alignment` has one letter for each, r: to the right.
void print_table(const std::vector<std::vector<std::string>>& rows, const std::string& alignment);

}  // namespace sidecar::ctl
