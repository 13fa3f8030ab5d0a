// Whether the kernel lets processes copy each other's memory (process_vm_readv, what UCX calls CMA). UCX
// finds out only at the first large transfer, which then kills the connection, so it is tried before.
#pragma once

#include <cstdint>
#include <optional>

namespace sidecar {

// Another process of our user may read our memory: a child that is not our ancestor has tried it. Security
// modules, seccomp filters and processes that may not be dumped all show here. Blocks for well under a
// millisecond.
bool cma_works();

// False when it is certain that this process and we may not read each other: it belongs to another user, or
// the kernel said no. Unknown processes (0, or in another process-id namespace) are given the benefit of the
// doubt.
bool cma_works_with(std::int64_t pid);

// The word at this address of another process's memory. Nothing: the process has gone, or may not be read.
std::optional<std::uint64_t> word_of(std::int64_t pid, std::uint64_t address);

}  // namespace sidecar
