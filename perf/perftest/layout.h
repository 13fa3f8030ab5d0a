// What a client of ucx_perftest sends first, bytes as they lie in its memory: its parameters, a struct that
// differs from one UCX to the next, and the list of message sizes. The bytes come from the network: whatever
// they are, the answer is a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"

namespace sidecar::perf {

// Where the fields lie. Those before `flags` lie at the same place in all.
struct PerftestLayout {
  const char* versions;  // "1.13 to 1.16"
  unsigned minor_first, minor_last;
  std::uint16_t bytes;  // of the struct; the list of sizes follows
  std::uint16_t flags, sizes_count, stride, outstanding, warmup_iterations, warmup_seconds, iterations,
      seconds, percentile, device, send_layout, receive_layout, header_bytes, test_id;
  std::uint16_t error_mode;   // 0: a flag says it
  std::uint16_t daemon_mode;  // 0: there is no such thing yet
};

// Null: nobody has looked at that UCX's perftest.
const PerftestLayout* perftest_layout_of(unsigned major, unsigned minor);
// Since UCX 1.19 the receiver of a stream sends one byte back after each run.
bool perftest_acknowledges_streams(unsigned major, unsigned minor);
// The layout in which these bytes make sense; null: none does.
const PerftestLayout* guess_perftest_layout(std::span<const std::byte> bytes);

struct PerftestParams {
  bool ping_pong = false;         // ucp_am_lat; otherwise a stream to the server, ucp_am_bw
  std::uint32_t outstanding = 1;  // sends under way at once
  std::uint64_t iterations = 0;   // at least 1
  std::uint64_t warmup_iterations = 0;
  double warmup_seconds = 0;  // ends the warm-up earlier
  std::uint64_t header_bytes = 0;
  bool send_iov = false, receive_iov = false;  // as a list of parts, one for each size
  bool peer_errors = false;                    // endpoints notice that the other side failed
  bool registered = false;                     // buffers are handed to UCX with their memory handles
  bool map_later = false;                      // memory is registered without being touched
  bool copy_on_receive = false;                // short messages are copied to the buffer as well
  std::uint64_t stride = 0;                    // distance of the parts in the buffer, 0: one after the other
  std::uint64_t sizes_count = 0;               // how many sizes follow
  std::vector<std::uint64_t> sizes{};
  std::uint64_t message_bytes = 0;  // all parts
  std::uint64_t buffer_bytes = 0;   // what they lie in
};

// `bytes`: at least layout.bytes. kProtocol: they make no sense in that layout, which is how another one
// looks. kInvalidArgument: they do, and ask for what is not served; the text says what.
Result<PerftestParams> parse_perftest_params(const PerftestLayout& layout, std::span<const std::byte> bytes);
// The list, 8 * sizes_count bytes of it.
Status parse_perftest_sizes(std::span<const std::byte> bytes, PerftestParams& params);

// "ucp_am_lat, 8 bytes, 1000 iterations"
std::string to_string(const PerftestParams& params);

}  // namespace sidecar::perf
