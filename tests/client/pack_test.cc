#include "client/pack.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>
#include <vector>

namespace sidecar::client_internal {
namespace {

using Shape = std::vector<std::uint64_t>;
using Strides = std::vector<std::int64_t>;

template <class T>
std::vector<T> packed(const T* from, const Shape& shape, const Strides& strides) {
  std::uint64_t count = 1;
  for (const std::uint64_t extent : shape) count *= extent;
  std::vector<T> out(count + 1, T{99});  // one more, to see that nothing is written past the end
  pack(reinterpret_cast<const std::byte*>(from), sizeof(T), shape, strides,
       reinterpret_cast<std::byte*>(out.data()));
  EXPECT_EQ(out.back(), T{99});
  out.pop_back();
  return out;
}

// The definition, element by element.
std::vector<std::int32_t> expected(const std::int32_t* from, const Shape& shape, const Strides& strides) {
  std::vector<std::int32_t> out;
  std::vector<std::uint64_t> at(shape.size(), 0);
  for (;;) {
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < shape.size(); ++d) offset += static_cast<std::int64_t>(at[d]) * strides[d];
    out.push_back(from[offset]);
    std::size_t d = shape.size();
    while (d > 0 && ++at[d - 1] == shape[d - 1]) at[--d] = 0;
    if (d == 0) return out;
  }
}

TEST(Pack, CContiguousIsRecognised) {
  EXPECT_TRUE(is_contiguous(Shape{2, 3, 4}, Strides{12, 4, 1}));
  EXPECT_TRUE(is_contiguous(Shape{}, Strides{}));
  EXPECT_TRUE(is_contiguous(Shape{2, 1, 4}, Strides{4, 777, 1}));  // a stride that is never used
  EXPECT_TRUE(is_contiguous(Shape{0, 3}, Strides{5, 7}));
  EXPECT_FALSE(is_contiguous(Shape{3, 2}, Strides{1, 3}));
  EXPECT_FALSE(is_contiguous(Shape{2, 3}, Strides{4, 1}));
  EXPECT_FALSE(is_contiguous(Shape{4}, Strides{-1}));
  EXPECT_FALSE(is_contiguous(Shape{4}, Strides{0}));
}

TEST(Pack, ATransposedMatrixComesOutRowByRow) {
  const std::vector<std::int32_t> matrix{1, 2, 3, 4, 5, 6};  // 2 x 3
  EXPECT_EQ(packed(matrix.data(), {3, 2}, {1, 3}), (std::vector<std::int32_t>{1, 4, 2, 5, 3, 6}));
}

TEST(Pack, NegativeAndZeroStridesAreFollowed) {
  const std::vector<std::int16_t> row{1, 2, 3};
  EXPECT_EQ(packed(row.data() + 2, {3}, {-1}), (std::vector<std::int16_t>{3, 2, 1}));
  EXPECT_EQ(packed(row.data(), {2, 3}, {0, 1}), (std::vector<std::int16_t>{1, 2, 3, 1, 2, 3}));
  EXPECT_EQ(packed(row.data() + 1, {3}, {0}), (std::vector<std::int16_t>{2, 2, 2}));
}

TEST(Pack, NothingIsReadOrWrittenWithoutElements) {
  std::byte untouched{7};
  pack(nullptr, 4, Shape{3, 0, 2}, Strides{1, 1, 1}, &untouched);
  EXPECT_EQ(untouched, std::byte{7});
}

TEST(Pack, AScalarIsOneElement) {
  const double value = 2.5;
  EXPECT_EQ(packed(&value, {}, {}), std::vector<double>{2.5});
}

TEST(Pack, AnyStridesMatchTheDefinition) {
  std::vector<std::int32_t> memory(4096);
  std::iota(memory.begin(), memory.end(), 0);
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    const std::size_t dims = 1 + random() % 4;
    Shape shape;
    Strides strides;
    for (std::size_t d = 0; d < dims; ++d) {
      shape.push_back(1 + random() % 5);
      strides.push_back(static_cast<std::int64_t>(random() % 201) - 100);
    }
    if (round % 3 == 0) strides.back() = 1;  // runs, not elements
    const std::int32_t* const from = memory.data() + 2048;
    ASSERT_EQ(packed(from, shape, strides), expected(from, shape, strides)) << "round " << round;
  }
}

}  // namespace
}  // namespace sidecar::client_internal
