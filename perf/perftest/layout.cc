#include "perf/perftest/layout.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/check.h"

namespace sidecar::perf {
namespace {

constexpr std::array<PerftestLayout, 5> kLayouts{{
    {.versions = "1.13 to 1.16",
     .minor_first = 13,
     .minor_last = 16,
     .bytes = 264,
     .flags = 36,
     .sizes_count = 48,
     .stride = 56,
     .outstanding = 72,
     .warmup_iterations = 80,
     .warmup_seconds = 88,
     .iterations = 96,
     .seconds = 104,
     .percentile = 120,
     .device = 152,
     .send_layout = 236,
     .receive_layout = 240,
     .header_bytes = 248,
     .test_id = 256,
     .error_mode = 0,
     .daemon_mode = 0},
    {.versions = "1.17 to 1.19",
     .minor_first = 17,
     .minor_last = 19,
     .bytes = 528,
     .flags = 36,
     .sizes_count = 48,
     .stride = 56,
     .outstanding = 72,
     .warmup_iterations = 80,
     .warmup_seconds = 88,
     .iterations = 96,
     .seconds = 104,
     .percentile = 120,
     .device = 160,
     .send_layout = 240,
     .receive_layout = 244,
     .header_bytes = 248,
     .test_id = 520,
     .error_mode = 0,
     .daemon_mode = 256},
    {.versions = "1.20",
     .minor_first = 20,
     .minor_last = 20,
     .bytes = 560,
     .flags = 56,
     .sizes_count = 72,
     .stride = 80,
     .outstanding = 96,
     .warmup_iterations = 104,
     .warmup_seconds = 112,
     .iterations = 120,
     .seconds = 128,
     .percentile = 144,
     .device = 192,
     .send_layout = 272,
     .receive_layout = 276,
     .header_bytes = 280,
     .test_id = 552,
     .error_mode = 0,
     .daemon_mode = 288},
    {.versions = "1.21 and 1.22",
     .minor_first = 21,
     .minor_last = 22,
     .bytes = 584,
     .flags = 56,
     .sizes_count = 72,
     .stride = 80,
     .outstanding = 96,
     .warmup_iterations = 104,
     .warmup_seconds = 112,
     .iterations = 120,
     .seconds = 128,
     .percentile = 144,
     .device = 216,
     .send_layout = 296,
     .receive_layout = 300,
     .header_bytes = 304,
     .test_id = 576,
     .error_mode = 0,
     .daemon_mode = 312},
    {.versions = "1.23",
     .minor_first = 23,
     .minor_last = 23,
     .bytes = 584,
     .flags = 56,
     .sizes_count = 72,
     .stride = 80,
     .outstanding = 96,
     .warmup_iterations = 104,
     .warmup_seconds = 112,
     .iterations = 120,
     .seconds = 128,
     .percentile = 144,
     .device = 216,
     .send_layout = 296,
     .receive_layout = 300,
     .header_bytes = 304,
     .test_id = 576,
     .error_mode = 312,
     .daemon_mode = 316},
}};

constexpr std::size_t kApi = 0, kCommand = 4, kTestType = 8, kThreads = 16, kSendMemory = 28,
                      kReceiveMemory = 32;
constexpr std::size_t kDeviceBytes = 32;
constexpr std::uint32_t kApiUcp = 1, kCommandAm = 0, kPingPong = 0, kStream = 2;

// What only a stock client's mistake or another layout would exceed.
constexpr std::uint32_t kApis = 2, kCommands = 32, kTestTypes = 4, kMemoryTypes = 16, kTests = 128;
constexpr std::uint32_t kThreadsMax = 1024;
constexpr std::uint64_t kSizesMax = 1024;
constexpr std::uint32_t kOutstandingMax = 1 << 20;
constexpr std::uint64_t kIterationsMax = std::uint64_t{1} << 40;
constexpr std::uint64_t kHeaderBytesMax = 16 << 20;
constexpr std::uint64_t kStrideMax = std::uint64_t{1} << 40;
constexpr double kSecondsMax = 1e6;
// What we are willing to allocate, twice.
constexpr std::uint64_t kBufferBytesMax = std::uint64_t{1} << 30;

enum Flag : std::uint32_t {
  kOneSided = 1u << 2,
  kMapLater = 1u << 3,
  kTagWildcard = 1u << 4,
  kTagProbe = 1u << 5,
  kVerbose = 1u << 7,
  kStreamReceiveData = 1u << 8,
  kFlushEndpoint = 1u << 9,
  kWakeup = 1u << 10,
  kPeerErrors = 1u << 11,
  kRegistered = 1u << 13,
  kCopyOnReceive = 1u << 14,
};
// The others of these say nothing about active messages, or only how the client itself goes about it.
constexpr std::uint32_t kFlagsServed = kMapLater | kTagWildcard | kTagProbe | kVerbose | kStreamReceiveData |
                                       kFlushEndpoint | kWakeup | kPeerErrors | kRegistered | kCopyOnReceive;

template <class T>
T read_at(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  CHECK(offset + sizeof value <= bytes.size());
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// UCT's device, which UCP's tests do not use, is a name all the same: "<none>" unless the client chose one.
bool is_name(std::span<const std::byte> bytes) {
  const auto end = std::find(bytes.begin(), bytes.end(), std::byte{0});
  return end != bytes.begin() && end != bytes.end() && std::all_of(bytes.begin(), end, [](std::byte byte) {
           return byte >= std::byte{0x20} && byte < std::byte{0x7f};
         });
}

bool in_range(double value, double max) { return std::isfinite(value) && value >= 0 && value <= max; }

// Whether a client of any kind may have sent this, served or not.
bool makes_sense(const PerftestLayout& layout, std::span<const std::byte> bytes) {
  const auto u32 = [&](std::size_t offset) { return read_at<std::uint32_t>(bytes, offset); };
  const auto u64 = [&](std::size_t offset) { return read_at<std::uint64_t>(bytes, offset); };
  const auto f64 = [&](std::size_t offset) { return read_at<double>(bytes, offset); };
  const auto from_1 = [](std::uint64_t value, std::uint64_t max) { return value >= 1 && value <= max; };
  // Test 0 is UCT's; no client that asks for UCP sends it, but a longer layout may have zeros there.
  return u32(kApi) < kApis && u32(kCommand) < kCommands && u32(kTestType) < kTestTypes &&
         from_1(u32(kThreads), kThreadsMax) && u32(kSendMemory) < kMemoryTypes &&
         u32(kReceiveMemory) < kMemoryTypes && from_1(u64(layout.sizes_count), kSizesMax) &&
         u64(layout.stride) <= kStrideMax && u32(layout.outstanding) <= kOutstandingMax &&
         u64(layout.warmup_iterations) <= kIterationsMax &&
         in_range(f64(layout.warmup_seconds), kSecondsMax) && u64(layout.iterations) <= kIterationsMax &&
         in_range(f64(layout.seconds), kSecondsMax) && in_range(f64(layout.percentile), 100) &&
         is_name(bytes.subspan(layout.device, kDeviceBytes)) && u32(layout.send_layout) <= 1 &&
         u32(layout.receive_layout) <= 1 && u64(layout.header_bytes) <= kHeaderBytesMax &&
         u32(layout.test_id) < kTests && (u32(kApi) != kApiUcp || u32(layout.test_id) != 0) &&
         (layout.error_mode == 0 || u32(layout.error_mode) < 8) &&
         (layout.daemon_mode == 0 || u32(layout.daemon_mode) <= 1);
}

Status check_served(const PerftestLayout& layout, std::span<const std::byte> bytes) {
  const auto u32 = [&](std::size_t offset) { return read_at<std::uint32_t>(bytes, offset); };
  const auto refuse = [](const char* what, std::uint64_t asked = 0) {
    return fail(Errc::kInvalidArgument, what, kNoRank, asked);
  };
  constexpr const char* kTestsServed =
      "the client's test is not served: only -t ucp_am_lat and -t ucp_am_bw are";
  if (u32(kApi) != kApiUcp) return refuse(kTestsServed);
  if (u32(kCommand) != kCommandAm) return refuse(kTestsServed, u32(kCommand));
  if (u32(kTestType) != kPingPong && u32(kTestType) != kStream) return refuse(kTestsServed, u32(kTestType));
  if (u32(kThreads) != 1)
    return refuse("the client runs several threads (-T): only one is served", u32(kThreads));
  if (u32(kSendMemory) != 0 || u32(kReceiveMemory) != 0) {
    return refuse("the client's messages are not in host memory (-m): only that is served",
                  std::max(u32(kSendMemory), u32(kReceiveMemory)));
  }
  const std::uint32_t flags = u32(layout.flags);
  if ((flags & kOneSided) != 0)
    return refuse("the client asks for a server that does nothing (-o): not served");
  if ((flags & ~kFlagsServed) != 0) {
    return refuse("the client has set flags that are not known here (their bits)", flags & ~kFlagsServed);
  }
  if (layout.daemon_mode != 0 && u32(layout.daemon_mode) != 0) {
    return refuse("the client works through a daemon (-g): not served");
  }
  if (layout.error_mode != 0 && u32(layout.error_mode) > 1) {
    return refuse("the client's error handling (-e) is not served: none and peer are",
                  u32(layout.error_mode));
  }
  if (read_at<std::uint64_t>(bytes, layout.iterations) == 0 || read_at<double>(bytes, layout.seconds) != 0) {
    return refuse("the client's number of iterations is not fixed: say it with -n, and at least 1");
  }
  return {};
}

}  // namespace

const PerftestLayout* perftest_layout_of(unsigned major, unsigned minor) {
  for (const PerftestLayout& layout : kLayouts) {
    if (major == 1 && minor >= layout.minor_first && minor <= layout.minor_last) return &layout;
  }
  return nullptr;
}

bool perftest_acknowledges_streams(unsigned major, unsigned minor) { return major == 1 && minor >= 19; }

const PerftestLayout* guess_perftest_layout(std::span<const std::byte> bytes) {
  for (const PerftestLayout& layout : kLayouts) {
    if (bytes.size() >= layout.bytes && makes_sense(layout, bytes)) return &layout;
  }
  return nullptr;
}

Result<PerftestParams> parse_perftest_params(const PerftestLayout& layout, std::span<const std::byte> bytes) {
  CHECK(bytes.size() >= layout.bytes);
  if (!makes_sense(layout, bytes)) {
    return fail(Errc::kProtocol, "these are not a ucx_perftest client's parameters in this UCX's layout");
  }
  if (const Status served = check_served(layout, bytes); !served) return tl::unexpected(served.error());
  const auto flags = read_at<std::uint32_t>(bytes, layout.flags);
  PerftestParams params;
  params.ping_pong = read_at<std::uint32_t>(bytes, kTestType) == kPingPong;
  params.outstanding = read_at<std::uint32_t>(bytes, layout.outstanding);
  if (params.outstanding == 0) params.outstanding = params.ping_pong ? 1 : 32;  // the client was not told
  params.iterations = read_at<std::uint64_t>(bytes, layout.iterations);
  params.warmup_iterations = read_at<std::uint64_t>(bytes, layout.warmup_iterations);
  params.warmup_seconds = read_at<double>(bytes, layout.warmup_seconds);
  params.header_bytes = read_at<std::uint64_t>(bytes, layout.header_bytes);
  params.send_iov = read_at<std::uint32_t>(bytes, layout.send_layout) != 0;
  params.receive_iov = read_at<std::uint32_t>(bytes, layout.receive_layout) != 0;
  params.peer_errors = layout.error_mode != 0 ? read_at<std::uint32_t>(bytes, layout.error_mode) == 1
                                              : (flags & kPeerErrors) != 0;
  params.registered = (flags & kRegistered) != 0;
  params.map_later = (flags & kMapLater) != 0;
  params.copy_on_receive = (flags & kCopyOnReceive) != 0;
  params.stride = read_at<std::uint64_t>(bytes, layout.stride);
  params.sizes_count = read_at<std::uint64_t>(bytes, layout.sizes_count);
  return params;
}

Status parse_perftest_sizes(std::span<const std::byte> bytes, PerftestParams& params) {
  CHECK(bytes.size() == params.sizes_count * sizeof(std::uint64_t));
  params.sizes.clear();
  params.message_bytes = 0;
  for (std::size_t i = 0; i < params.sizes_count; ++i) {
    const auto size = read_at<std::uint64_t>(bytes, i * sizeof(std::uint64_t));
    if (size > kBufferBytesMax - params.message_bytes) {
      return fail(Errc::kInvalidArgument,
                  "the client's messages are longer than is served (-s; bytes, served)", kNoRank, size,
                  kBufferBytesMax);
    }
    if (params.stride != 0 && size > params.stride) {
      return fail(Errc::kInvalidArgument, "a part of the client's message is longer than the stride (-s, -i)",
                  kNoRank, size, params.stride);
    }
    params.sizes.push_back(size);
    params.message_bytes += size;
  }
  params.buffer_bytes = params.stride != 0 ? params.stride * params.sizes_count : params.message_bytes;
  if (params.buffer_bytes > kBufferBytesMax) {
    return fail(Errc::kInvalidArgument,
                "the client's buffer is longer than is served (-s, -i; bytes, served)", kNoRank,
                params.buffer_bytes, kBufferBytesMax);
  }
  return {};
}

std::string to_string(const PerftestParams& params) {
  std::string text = params.ping_pong ? "ucp_am_lat, " : "ucp_am_bw, ";
  text += std::to_string(params.message_bytes) + " bytes";
  if (params.sizes.size() > 1) text += " in " + std::to_string(params.sizes.size()) + " parts";
  if (params.header_bytes > 0) text += " and a header of " + std::to_string(params.header_bytes);
  return text + ", " + std::to_string(params.iterations) + " iterations";
}

}  // namespace sidecar::perf
