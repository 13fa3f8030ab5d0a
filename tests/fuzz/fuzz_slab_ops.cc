// Slab operations read from bytes, against a map, with every invariant checked after each step.
//
// Byte 0 chooses the region. Then operations: one byte with the kind in its low 2 bits and a hint in the
// others, followed by 3 bytes of size (allocate) or 2 bytes of which run (free).
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/check.h"
#include "core/slab.h"

namespace {

constexpr std::array<std::uint64_t, 8> kRegions{64,       1000,      57'344,     1 << 20,
                                                20 << 20, 300 << 20, 5ull << 30, 300ull << 30};
constexpr std::array<std::uint64_t, 16> kUnits{
    0, 1, 64, 65, 192, 512, 1000, 4096, 7168, 16'384, 65'536, 100'000, 1 << 20, 3'000'000, 1 << 28, ~0ull};

struct Live {
  std::uint64_t offset, bytes;
};

class Reader {
 public:
  Reader(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
  [[nodiscard]] bool done() const { return at_ == end_; }
  std::uint64_t take(int bytes) {
    std::uint64_t value = 0;
    for (int i = 0; i < bytes && at_ != end_; ++i) value |= std::uint64_t{*at_++} << (8 * i);
    return value;
  }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

void check_apart(const std::vector<Live>& live, const Live& run, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t bytes = std::max<std::uint64_t>(run.bytes, 1);
  CHECK(run.offset >= begin && run.offset % 64 == 0 && bytes <= end - run.offset);
  for (const Live& other : live) {
    CHECK(run.offset + bytes <= other.offset ||
          other.offset + std::max<std::uint64_t>(other.bytes, 1) <= run.offset);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 2000) return 0;  // each step checks everything: longer inputs only take longer
  Reader in(data, size);
  constexpr std::uint64_t kBegin = 1 << 21;
  const std::uint64_t region = kRegions[in.take(1) % kRegions.size()];
  sidecar::Slab slab(kBegin, region);
  std::vector<Live> live;
  std::uint64_t asked = 0;
  while (!in.done()) {
    const std::uint64_t op = in.take(1);
    if (op % 4 < 2) {
      const std::uint64_t unit = kUnits[(op >> 2) % kUnits.size()];
      std::uint64_t bytes = in.take(3);
      if (op % 4 == 1) bytes = bytes * 4096 + 1;
      const auto offset = slab.allocate(bytes, unit);
      CHECK(!offset || slab.can_ever_fit(bytes, unit));
      CHECK(offset || !slab.empty() || !slab.can_ever_fit(bytes, unit));
      if (offset) {
        check_apart(live, {*offset, bytes}, kBegin, kBegin + region);
        CHECK(slab.taken_bytes(*offset) >= bytes);
        live.push_back({*offset, bytes});
        asked += bytes;
      }
    } else if (!live.empty()) {
      std::swap(live[in.take(2) % live.size()], live.back());
      slab.free({live.back().offset, live.back().bytes});
      asked -= live.back().bytes;
      live.pop_back();
    }
    slab.check_invariants();
    CHECK(slab.stats().runs == live.size() && slab.stats().asked_bytes == asked);
  }
  for (const Live& run : live) slab.free({run.offset, run.bytes});
  slab.check_invariants();
  CHECK(slab.empty() && slab.allocate(slab.largest(), 64));
  return 0;
}
