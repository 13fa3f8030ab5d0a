#include "core/log.h"

#include <gtest/gtest.h>

#include <string>

namespace sidecar {
namespace {

std::string captured(void (*function)()) {
  testing::internal::CaptureStderr();
  function();
  return testing::internal::GetCapturedStderr();
}

TEST(Log, WritesFormattedLinesWithLevelAndName) {
  set_log_level(LogLevel::kInfo);
  set_log_name("test 100%");
  const std::string text = captured([] { LOG_INFO("rank {} at {}", 3, "here"); });
  EXPECT_NE(text.find(" I test 100%: rank 3 at here\n"), std::string::npos) << text;
}

TEST(Log, ALineBelowTheLevelCostsNothing) {
  static int evaluated;
  evaluated = 0;
  set_log_level(LogLevel::kWarn);
  const std::string text = captured([] { LOG_INFO("{}", ++evaluated); });
  EXPECT_EQ(text, "");
  EXPECT_EQ(evaluated, 0);
  EXPECT_NE(captured([] { LOG_WARN("w"); }), "");
}

TEST(Log, ALimitedWarningComesOnceASecondFromOnePlace) {
  set_log_level(LogLevel::kWarn);
  const std::string text = captured([] {
    for (int i = 0; i < 100; ++i) LOG_WARN_LIMITED("junk {}", i);
  });
  EXPECT_NE(text.find("junk 0"), std::string::npos);
  EXPECT_EQ(text.find("junk 1"), std::string::npos);
}

TEST(LogLimit, AdmitsOneASecondAndCountsTheRest) {
  LogLimit limit;
  std::uint64_t suppressed = 99;
  EXPECT_TRUE(limit.admit(5 * kSecond, &suppressed));
  EXPECT_EQ(suppressed, 0u);
  EXPECT_FALSE(limit.admit(5 * kSecond, &suppressed));
  EXPECT_FALSE(limit.admit(6 * kSecond - 1, &suppressed));
  EXPECT_TRUE(limit.admit(6 * kSecond, &suppressed));
  EXPECT_EQ(suppressed, 2u);
  EXPECT_TRUE(limit.admit(60 * kSecond, &suppressed));
  EXPECT_EQ(suppressed, 0u);
}

TEST(Log, LevelsHaveNames) {
  LogLevel level = LogLevel::kOff;
  EXPECT_TRUE(parse_log_level("debug", &level));
  EXPECT_EQ(level, LogLevel::kDebug);
  EXPECT_FALSE(parse_log_level("loud", &level));
  EXPECT_EQ(level, LogLevel::kDebug);
}

}  // namespace
}  // namespace sidecar
