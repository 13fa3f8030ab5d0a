// Every compile-time bound in one place, with the relations between them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sidecar {

inline constexpr std::size_t kHeaderBytesMax = 4096;  // one encoded active-message header
inline constexpr std::size_t kInlineBytesMax = 1024;  // object bytes that ride in the header
inline constexpr std::size_t kDataIdBytesMax = 255;
inline constexpr std::size_t kDimsMax = 16;
inline constexpr std::size_t kDestinationsMax = 256;  // ranks, over all groups of one send
inline constexpr std::size_t kTextBytesMax = 200;     // error text in a Reply or Ack
inline constexpr std::size_t kNameBytesMax = 255;     // node names, arena paths
inline constexpr std::size_t kReleasesMax = 128;      // views in one Release

inline constexpr std::size_t kSlotAlign = 64;                      // slot sizes are multiples of this
inline constexpr std::size_t kEagerBytesMax = 64 * 1024;           // rendezvous above
inline constexpr std::size_t kEagerWindowBytes = 4 * 1024 * 1024;  // eager bytes a sender may have unconsumed
inline constexpr std::uint32_t kTransferWindow = 16384;            // unacknowledged transfers per peer
inline constexpr std::uint32_t kAckRunMax = 256;                   // transfers that one Ack is for
inline constexpr std::uint32_t kConnectingMax = 8;        // peers that a sidecar connects to at a time
inline constexpr std::uint32_t kPartsMax = 256;           // that one chunk may come in
inline constexpr std::uint32_t kParkedMax = 4096;         // incoming payloads waiting for room, per sidecar
inline constexpr std::uint32_t kWaitingSendsMax = 16384;  // sends and allocations waiting for room, likewise
inline constexpr std::uint32_t kClientCallsMax = 65536;   // of each kind that one client has under way
inline constexpr std::uint32_t kClientIdsMax = 262144;    // that it named and nothing has come of
inline constexpr std::uint32_t kGapsMax = 65536;  // between the chunks of a datum that are marked done
inline constexpr std::uint32_t kTombstonesMin = 1u << 20;  // data ids remembered after they are done
inline constexpr std::uint64_t kTombstoneNs = 600ull * 1'000'000'000ull;

static_assert(kEagerBytesMax < kEagerWindowBytes);
static_assert(kDataIdBytesMax + kInlineBytesMax + 4 * kDestinationsMax + 512 < kHeaderBytesMax,
              "the largest Send must fit in a header");
static_assert((kTransferWindow & (kTransferWindow - 1)) == 0, "used as a ring size");

}  // namespace sidecar
