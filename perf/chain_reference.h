// raw_chain as a reference: four processes that pass a message along over bare UCX, as an object's bytes pass
// from executor to executor through two sidecars of one node. Failures end the program (give_up).
#pragma once

#include <cstddef>
#include <cstdint>

namespace sidecar::perf {

// p50 of the time over all three hops, microseconds, of `count` messages after `warmup` others. Each is sent
// `spacing_ns` after the one before has arrived: everybody is asleep again.
double raw_chain_us(std::uint64_t count, std::uint64_t warmup, std::uint64_t spacing_ns);

// What it passes along on each hop: as many bytes as our three messages for an object of 64 bytes have on
// average, so that it moves the same bytes in all.
std::size_t chain_header_bytes();

}  // namespace sidecar::perf
