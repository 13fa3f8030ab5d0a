#include "control/units.h"

#include <gtest/gtest.h>

namespace sidecar {
namespace {

TEST(Units, SizesTakeBinarySuffixes) {
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("64K"), 65536u);
  EXPECT_EQ(parse_size("64k"), 65536u);
  EXPECT_EQ(parse_size("1.5G"), 1610612736u);
  EXPECT_EQ(parse_size("2GiB"), 2147483648u);
  EXPECT_EQ(parse_size("3MB"), 3145728u);
  EXPECT_EQ(parse_size("1T"), std::uint64_t{1} << 40);
  EXPECT_EQ(parse_size("12B"), 12u);
}

TEST(Units, WhatIsNoSizeIsRefused) {
  for (const char* text : {"", "K", "-1", "1X", "1KK", "1 G", "nan", "inf", "1e30", "0x10", "9999999T"}) {
    EXPECT_FALSE(parse_size(text)) << text;
  }
}

TEST(Units, DurationsTakeUnits) {
  EXPECT_EQ(parse_duration("30"), 30 * kSecond);
  EXPECT_EQ(parse_duration("30s"), 30 * kSecond);
  EXPECT_EQ(parse_duration("250ms"), 250 * kMillisecond);
  EXPECT_EQ(parse_duration("20us"), 20'000u);
  EXPECT_EQ(parse_duration("10m"), 600 * kSecond);
  EXPECT_EQ(parse_duration("1.5h"), 5400 * kSecond);
  EXPECT_EQ(parse_duration("never"), kNever);
}

TEST(Units, WhatIsNoDurationIsRefused) {
  for (const char* text : {"", "s", "-1s", "1 s", "1d", "soon", "1e12"})
    EXPECT_FALSE(parse_duration(text)) << text;
}

TEST(Units, TextRoundTrips) {
  EXPECT_EQ(size_text(std::uint64_t{1} << 30), "1 GiB");
  EXPECT_EQ(size_text(1000), "1000 B");
  EXPECT_EQ(duration_text(600 * kSecond), "600s");
  EXPECT_EQ(duration_text(1500 * kMillisecond), "1500ms");
  EXPECT_EQ(duration_text(kNever), "never");
}

}  // namespace
}  // namespace sidecar
