#include "client/npy.h"

#include <gtest/gtest.h>

#include <cstring>

namespace sidecar::npy {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  std::vector<std::byte> out(text.size());
  if (!text.empty()) std::memcpy(out.data(), text.data(), text.size());
  return out;
}

// A version 1 file's head around `dict`, as numpy pads it.
std::string head(std::string dict, std::size_t total = 128) {
  std::string out = std::string("\x93NUMPY\x01\x00", 8);
  const std::size_t length = total - 10;
  dict.resize(length - 1, ' ');
  out += static_cast<char>(length & 0xff);
  out += static_cast<char>(length >> 8);
  return out + dict + "\n";
}

Expected<Header> read(const std::string& text) { return parse(bytes_of(text)); }

TEST(Npy, ReadsWhatNumpyWrites) {
  const Expected<Header> header = read(head("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }"));
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->dtype, Dtype::kF32);
  EXPECT_EQ(header->shape, (std::vector<std::uint64_t>{3, 4}));
}

TEST(Npy, WritesWhatNumpyWrites) {
  // numpy 1.24: np.save(..., np.zeros((3, 4), np.float32))
  EXPECT_EQ(format({Dtype::kF32, {3, 4}}),
            head("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }"));
  EXPECT_EQ(format({Dtype::kBool, {5}}), head("{'descr': '|b1', 'fortran_order': False, 'shape': (5,), }"));
  EXPECT_EQ(format({Dtype::kC128, {}}), head("{'descr': '<c16', 'fortran_order': False, 'shape': (), }"));
}

TEST(Npy, EveryNumberTypeAndShapeComesBack) {
  for (std::uint8_t i = 0; i < kDtypeCount; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    if (dtype == Dtype::kBF16 || dtype == Dtype::kF8E4M3 || dtype == Dtype::kF8E5M2) continue;
    for (const std::vector<std::uint64_t>& shape : {std::vector<std::uint64_t>{},
                                                    {0},
                                                    {7},
                                                    {2, 0, 3},
                                                    std::vector<std::uint64_t>(16, 12345678901ull)}) {
      const std::string text = format({dtype, shape});
      EXPECT_EQ(text.size() % 64, 0u);
      const Expected<Header> header = read(text);
      ASSERT_TRUE(header) << dtype_name(dtype) << ": " << header.error().message;
      EXPECT_EQ(header->dtype, dtype);
      EXPECT_EQ(header->shape, shape);
    }
  }
}

TEST(Npy, TypesThatNumpyLacksBecomeOpaqueElementsOfTheSameSize) {
  EXPECT_NE(format({Dtype::kBF16, {2}}).find("'<V2'"), std::string::npos);
  EXPECT_NE(format({Dtype::kF8E4M3, {2}}).find("'|V1'"), std::string::npos);
}

TEST(Npy, AHeaderCanLeaveRoomForALongerOne) {
  const std::string text = format({Dtype::kU8, {1}}, 512);
  EXPECT_EQ(text.size(), 512u);
  EXPECT_EQ(*data_offset(bytes_of(text)), 512u);
  EXPECT_LE(format({Dtype::kC128, std::vector<std::uint64_t>(16, ~std::uint64_t{0})}).size(), 512u);
}

TEST(Npy, Version2And3HaveALongerLength) {
  for (const char version : {'\x02', '\x03'}) {
    const std::string dict = "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n";
    std::string text = std::string("\x93NUMPY", 6) + version + '\0';
    text += static_cast<char>(dict.size());
    text += std::string(3, '\0') + dict;
    const Expected<Header> header = read(text);
    ASSERT_TRUE(header) << header.error().message;
    EXPECT_EQ(header->dtype, Dtype::kI64);
  }
}

TEST(Npy, KeysMayComeInAnyOrderAndSpacing) {
  const Expected<Header> header = read(head("{\"shape\":(2 , 3L),'fortran_order' :False,'descr':\"|u1\"}"));
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->shape, (std::vector<std::uint64_t>{2, 3}));
}

TEST(Npy, FortranOrderIsRefusedUnlessItMakesNoDifference) {
  EXPECT_TRUE(read(head("{'descr': '<f4', 'fortran_order': True, 'shape': (3,), }")));
  const Expected<Header> header = read(head("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4), }"));
  ASSERT_FALSE(header);
  EXPECT_NE(header.error().message.find("ascontiguousarray"), std::string::npos);
}

TEST(Npy, ForeignElementsAreRefusedByName) {
  for (const char* descr : {"'>f4'", "'|O'", "'<U7'", "'<M8[ns]'", "'|V4'", "''", "[('a', '<f4')]"}) {
    EXPECT_FALSE(read(head(std::string("{'descr': ") + descr + ", 'fortran_order': False, 'shape': (3,), }")))
        << descr;
  }
  EXPECT_TRUE(
      read(head("{'descr': '>u1', 'fortran_order': False, 'shape': (3,), }")));  // one byte has no order
}

TEST(Npy, BrokenHeadersAreRefused) {
  for (const char* dict :
       {"", "{", "{}", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (3,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 3}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), } x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1), }"}) {
    EXPECT_FALSE(read(head(dict, 256))) << dict;
  }
}

TEST(Npy, CutOffAndAbsurdPreamblesAreRefused) {
  const std::string good = format({Dtype::kF32, {3, 4}});
  for (std::size_t length = 0; length < good.size(); ++length)
    EXPECT_FALSE(read(good.substr(0, length))) << length;
  EXPECT_FALSE(data_offset(bytes_of(std::string("\x93NUMPY\x09\x00\x10\x00\x00\x00", 12))));
  EXPECT_FALSE(data_offset(bytes_of(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12))));
  EXPECT_FALSE(is_npy(bytes_of("PK\x03\x04 zip")));
}

}  // namespace
}  // namespace sidecar::npy
