// What each member of a group brings with its call.
#include "client/parcel.h"

#include <gtest/gtest.h>

#include <numeric>

#include "am_protocol/codec.h"
#include "client/arguments.h"

namespace sidecar::client_internal {
namespace {

constexpr Place kAlone{};

Place concurrent(std::uint16_t index, std::uint16_t members) { return {index, members, true}; }
Place first_copies(std::uint16_t index, std::uint16_t members) { return {index, members, false}; }

std::vector<std::byte> counting(std::size_t bytes) {
  std::vector<std::byte> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(i * 31 + i / 251);
  return out;
}

Tensor flat(const std::vector<std::byte>& bytes) { return {bytes.data(), Dtype::kU8, {bytes.size()}}; }

// What the sidecar would say to the call of the member `index`; the bytes it brings go to `*brought`.
std::string judged(const Tensor& tensor, const Place& place, std::vector<std::byte>* brought) {
  const auto meta = tensor_meta("id", {}, tensor.dtype, tensor.shape, 0);
  auto parcel = parcel_of(tensor, meta->bytes, place);
  if (!parcel) return parcel.error().what;
  Op op;
  Message message(std::in_place_type<Send>);
  Send& send = std::get<Send>(message);
  send.meta = *meta;
  send.destinations = *destinations_of({{99}}, {0});
  const ConstBytes payload = load(std::move(*parcel), send, op);
  brought->insert(brought->end(), payload.begin(), payload.end());
  Encoder encoder;
  std::array<std::byte, kHeaderBytesMax> header;
  const std::size_t size = encoder.encode(message, header);
  Message decoded;
  const Status status = decode(std::span(header).first(size), payload.size(), decoded);
  return status ? "accepted" : status.error().what;
}

class Member : public ::testing::TestWithParam<std::uint16_t> {
 protected:
  static constexpr std::uint16_t kMembers = 4;
};
INSTANTIATE_TEST_SUITE_P(Each, Member, ::testing::Range(std::uint16_t{0}, std::uint16_t{4}),
                         ::testing::PrintToStringParamName());

TEST_P(Member, BringsItsSliceFromTheCallersMemory) {
  const auto bytes = counting(100'000);
  const auto parcel = parcel_of(flat(bytes), bytes.size(), concurrent(GetParam(), kMembers));
  ASSERT_TRUE(parcel);
  const Slice slice = shard_of(bytes.size(), GetParam(), kMembers);
  EXPECT_EQ(parcel->source, Source::kPayload);
  EXPECT_EQ(parcel->shard, GetParam());
  EXPECT_EQ(parcel->shards, kMembers);
  EXPECT_EQ(parcel->bytes.data(), bytes.data() + slice.begin);
  EXPECT_EQ(parcel->bytes.size(), slice.bytes);
  EXPECT_EQ(parcel->owner, nullptr);
}

TEST_P(Member, OfASmallTensorBringsAnEmptySliceUnlessItIsTheFirst) {
  const auto bytes = counting(5);
  const auto parcel = parcel_of(flat(bytes), bytes.size(), concurrent(GetParam(), kMembers));
  ASSERT_TRUE(parcel);
  EXPECT_EQ(parcel->source, Source::kPayload);
  EXPECT_EQ(parcel->shard, GetParam());
  EXPECT_EQ(parcel->shards, kMembers);
  EXPECT_EQ(parcel->bytes.size(), GetParam() == 0 ? 5u : 0u);
}

TEST_P(Member, BringsASliceOfThePackedCopyOfAStridedTensor) {
  std::vector<std::int32_t> matrix(64 * 32);  // 64 x 32, sent transposed
  std::iota(matrix.begin(), matrix.end(), 0);
  const Tensor transposed{matrix.data(), Dtype::kI32, {32, 64}, {1, 32}};
  const std::uint64_t bytes = matrix.size() * 4;
  const auto parcel = parcel_of(transposed, bytes, concurrent(GetParam(), kMembers));
  ASSERT_TRUE(parcel);
  const Slice slice = shard_of(bytes, GetParam(), kMembers);
  ASSERT_EQ(parcel->bytes.size(), slice.bytes);
  EXPECT_NE(parcel->owner, nullptr);
  for (std::uint64_t i = 0; i < slice.bytes / 4; ++i) {
    std::int32_t element = 0;
    std::memcpy(&element, parcel->bytes.data() + i * 4, 4);
    const std::uint64_t at = slice.begin / 4 + i;
    ASSERT_EQ(element, matrix[at % 64 * 32 + at / 64]) << at;
  }
}

TEST_P(Member, OtherThanTheFirstBringsNothingWhereOneCopiesForAll) {
  const bool first = GetParam() == 0;
  const auto bytes = counting(5000);
  const auto tensor = parcel_of(flat(bytes), bytes.size(), first_copies(GetParam(), kMembers));
  EXPECT_EQ(tensor->source, first ? Source::kPayload : Source::kNothing);
  EXPECT_EQ(tensor->bytes.size(), first ? bytes.size() : 0u);
  // The rest goes like this whatever concurrent_copy says.
  for (const bool concurrently : {false, true}) {
    const Place place{GetParam(), kMembers, concurrently};
    const auto empty = parcel_of(Tensor{nullptr, Dtype::kF32, {0, 7}}, 0, place);
    EXPECT_EQ(empty->source, first ? Source::kInline : Source::kNothing);
    const auto small = parcel_of(Object{"tokens", 6}, place);
    EXPECT_EQ(small->source, first ? Source::kInline : Source::kNothing);
    const auto large = parcel_of(Object{bytes.data(), bytes.size()}, place);
    EXPECT_EQ(large->source, first ? Source::kPayload : Source::kNothing);
    for (const Parcel& each : {*tensor, *empty, *small, *large}) EXPECT_EQ(each.shards, 0);
  }
}

TEST(Parcel, TheMembersTogetherBringTheTensorAndNothingElse) {
  for (const std::size_t size : {1u, 63u, 64u, 65u, 200u, 4096u, 100'001u}) {
    const auto bytes = counting(size);
    for (const std::uint16_t members : std::initializer_list<std::uint16_t>{2, 3, 7, 256}) {
      std::vector<std::byte> brought;
      for (std::uint16_t index = 0; index < members; ++index) {
        ASSERT_EQ(judged(flat(bytes), concurrent(index, members), &brought), "accepted") << size << index;
      }
      ASSERT_EQ(brought, bytes) << members;
      brought.clear();
      for (std::uint16_t index = 0; index < members; ++index) {
        ASSERT_EQ(judged(flat(bytes), first_copies(index, members), &brought), "accepted") << size << index;
      }
      ASSERT_EQ(brought, bytes) << members;
    }
  }
}

TEST(Parcel, AClientAloneSendsAsEver) {
  const auto bytes = counting(1000);
  for (const bool concurrently : {false, true}) {
    const auto parcel = parcel_of(flat(bytes), bytes.size(), {0, 1, concurrently});
    EXPECT_EQ(parcel->source, Source::kPayload);
    EXPECT_EQ(parcel->shards, 0);
    EXPECT_EQ(parcel->bytes.size(), bytes.size());
  }
}

TEST(Parcel, MemoryIsLookedAtOnlyWhereItIsRead) {
  const Tensor null{nullptr, Dtype::kU8, {5}};
  EXPECT_FALSE(parcel_of(null, 5, kAlone));
  EXPECT_FALSE(parcel_of(null, 5, concurrent(0, 2)));
  EXPECT_TRUE(parcel_of(null, 5, concurrent(1, 2)));  // an empty slice
  EXPECT_TRUE(parcel_of(null, 5, first_copies(1, 2)));
  EXPECT_FALSE(parcel_of(Object{nullptr, 5}, kAlone));
  EXPECT_TRUE(parcel_of(Object{nullptr, 5}, first_copies(1, 2)));
  const Tensor odd{"12345678", Dtype::kU8, {2, 4}, {1}};
  EXPECT_FALSE(parcel_of(odd, 8, kAlone));
}

TEST(Parcel, APlaceIsThePositionAmongTheSortedRanks) {
  const Group group{3, 5, 9};
  EXPECT_EQ(place_of(3, group, true).index, 0);
  EXPECT_EQ(place_of(5, group, true).index, 1);
  EXPECT_EQ(place_of(9, group, true).index, 2);
  EXPECT_EQ(place_of(9, group, true).members, 3);
  EXPECT_TRUE(place_of(9, group, true).concurrent);
  EXPECT_EQ(place_of(4, {4}, false).members, 1);
}

}  // namespace
}  // namespace sidecar::client_internal
