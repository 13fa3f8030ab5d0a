#include "core/types.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/result.h"

namespace sidecar {
namespace {

ChunkMeta tensor(std::initializer_list<std::uint64_t> extents, Dtype dtype, std::uint64_t bytes) {
  ChunkMeta meta;
  meta.id.assign("datum");
  meta.num_chunks = 1;
  meta.dtype = dtype;
  for (const std::uint64_t extent : extents) meta.shape.extent[meta.shape.dims++] = extent;
  meta.bytes = bytes;
  return meta;
}

// The refusal's text, empty when accepted.
std::string refusal(const Status& status) {
  if (status) return "";
  EXPECT_EQ(status.error().code, Errc::kInvalidArgument);
  return status.error().what;
}

TEST(FixedText, KeepsAnyBytesUpToItsCapacity) {
  const std::string odd("a\0\xff\n", 4);
  const DataId id{odd};
  EXPECT_EQ(id.size(), 4u);
  EXPECT_EQ(id.view(), odd);
  const DataId full{std::string(300, 'x')};
  EXPECT_EQ(full.size(), kDataIdBytesMax);
}

TEST(FixedText, ComparesAndCopiesOnlyTheDefinedBytes) {
  DataId a{"longer than the next"};
  a.assign("short");
  const DataId b{"short"};
  EXPECT_EQ(a, b);
  const DataId c = a;
  EXPECT_EQ(c.view(), "short");
  EXPECT_FALSE(a == DataId{"shorT"});
  EXPECT_TRUE(DataId{}.empty());
}

TEST(TensorBytes, MultipliesShapeAndDtype) {
  EXPECT_EQ(tensor_bytes(Dtype::kF32, tensor({}, Dtype::kF32, 0).shape).value(), 4u)
      << "a scalar is one element";
  EXPECT_EQ(tensor_bytes(Dtype::kBF16, tensor({3, 5, 7}, Dtype::kBF16, 0).shape).value(), 210u);
  EXPECT_EQ(tensor_bytes(Dtype::kC128, tensor({0, 5}, Dtype::kC128, 0).shape).value(), 0u);
}

TEST(TensorBytes, RefusesAProductThatOverflows) {
  const std::uint64_t half = std::uint64_t{1} << 32;
  EXPECT_FALSE(tensor_bytes(Dtype::kU8, tensor({half, half}, Dtype::kU8, 0).shape));
  EXPECT_FALSE(tensor_bytes(Dtype::kU16, tensor({half, half / 2}, Dtype::kU16, 0).shape));
  EXPECT_EQ(tensor_bytes(Dtype::kU8, tensor({half, half / 2}, Dtype::kU8, 0).shape).value(),
            std::uint64_t{1} << 63);
}

TEST(Dtype, EveryTypeHasASizeAndAName) {
  for (std::uint8_t i = 0; i < kDtypeCount; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    EXPECT_GT(dtype_bytes(dtype), 0u);
    ASSERT_NE(dtype_name(dtype), nullptr);
    EXPECT_NE(std::string(dtype_name(dtype)), "");
  }
  EXPECT_STREQ(dtype_name(Dtype::kF8E5M2), "float8_e5m2");
  EXPECT_STREQ(dtype_name(Dtype::kBF16), "bfloat16");
}

TEST(CheckMeta, AcceptsATensorWhoseBytesAgree) {
  EXPECT_EQ(refusal(check_meta(tensor({2, 3}, Dtype::kF64, 48))), "");
  EXPECT_EQ(refusal(check_meta(tensor({7, 0}, Dtype::kF64, 0))), "") << "zero elements are data too";
}

TEST(CheckMeta, NamesTheFieldThatIsWrong) {
  ChunkMeta meta = tensor({2, 3}, Dtype::kF64, 47);
  EXPECT_EQ(refusal(check_meta(meta)).substr(0, 6), "bytes:");
  meta = tensor({1}, Dtype::kU8, 1);
  meta.id.assign("");
  EXPECT_EQ(refusal(check_meta(meta)).substr(0, 3), "id:");
  meta = tensor({1}, Dtype::kU8, 1);
  meta.chunk = 1;
  EXPECT_EQ(refusal(check_meta(meta)).substr(0, 9), "chunk_id:");
  meta.num_chunks = 0;
  EXPECT_EQ(refusal(check_meta(meta)).substr(0, 11), "num_chunks:");
  meta = tensor({1}, static_cast<Dtype>(kDtypeCount), 1);
  EXPECT_EQ(refusal(check_meta(meta)).substr(0, 6), "dtype:");
  meta = tensor({1}, Dtype::kU8, 1);
  meta.shape.dims = kDimsMax + 1;
  EXPECT_EQ(refusal(check_meta(meta)).substr(0, 6), "shape:");
}

TEST(CheckMeta, AStreamHasNoChunkCountAndAnyChunkIndexButTheLast) {
  ChunkMeta meta = tensor({1}, Dtype::kU8, 1);
  meta.stream = true;
  EXPECT_EQ(refusal(check_meta(meta)).substr(0, 11), "num_chunks:");
  meta.num_chunks = 0;
  meta.chunk = 123456;
  EXPECT_EQ(refusal(check_meta(meta)), "");
  meta.chunk = ~ChunkIndex{0};
  EXPECT_EQ(refusal(check_meta(meta)).substr(0, 9), "chunk_id:") << "its count would not fit";
}

Destinations groups(const std::vector<std::vector<Rank>>& of) {
  Destinations destinations;
  for (const auto& members : of) EXPECT_TRUE(destinations.add_group(members));
  return destinations;
}

TEST(Destinations, LeaderIsTheSmallestRankOfEachGroup) {
  const Destinations d = groups({{5, 3, 4}, {2}});
  EXPECT_EQ(d.groups, 2);
  EXPECT_EQ(d.leader(0), 3);
  EXPECT_EQ(d.leader(1), 2);
  EXPECT_EQ(d.group(0).size(), 3u);
  EXPECT_TRUE(check_destinations(d, 0));
}

TEST(Destinations, RefusesMoreRanksThanItHolds) {
  Destinations d;
  const std::vector<Rank> many(kDestinationsMax, 1);
  EXPECT_TRUE(d.add_group(many));
  EXPECT_FALSE(d.add_group(std::vector<Rank>{2}));
  EXPECT_EQ(d.groups, 1);
}

TEST(Destinations, TwoGroupsWithOneLeaderAreRefusedAndTheRankIsNamed) {
  EXPECT_TRUE(check_destinations(groups({{1, 3}, {2, 3}}), 0)) << "sharing a member is fine";
  const Status status = check_destinations(groups({{3, 1}, {4}, {1, 2}}), 0);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kInvalidArgument);
  EXPECT_EQ(status.error().rank, 1);
}

TEST(Destinations, NoDestinationIsRefused) { EXPECT_FALSE(check_destinations(Destinations{}, 0)); }

TEST(Handle, SurvivesPackingAndIsInvalidByDefault) {
  EXPECT_FALSE(Handle{}.valid());
  const Handle handle{7, 0xdeadbeef};
  EXPECT_TRUE(handle.valid());
  EXPECT_EQ(Handle::unpack(handle.pack()), handle);
}

TEST(Error, TextHasCodeCauseFiguresAndRank) {
  const Error error{Errc::kNoSpace, 3, "chunk larger than the quota", 10, 7};
  EXPECT_EQ(to_string(error), "NoSpace: chunk larger than the quota (10, 7), rank 3");
  EXPECT_EQ(to_string(Error{Errc::kTimeout, kNoRank, "", 0, 0}), "Timeout");
  EXPECT_STREQ(errc_name(static_cast<Errc>(200)), "Unknown");
}

}  // namespace
}  // namespace sidecar
