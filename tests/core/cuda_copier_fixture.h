// A copier over a fake GPU, on a loop of the test's own, and a record of what it reports.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/cuda_copier.h"
#include "core/mailbox.h"
#include "tests/core/fake_cuda.h"
#include "tests/support/test_loop.h"

namespace sidecar {

inline std::vector<std::byte> pattern(std::size_t bytes, unsigned seed = 1) {
  std::vector<std::byte> content(bytes);
  for (std::size_t i = 0; i < bytes; ++i) {
    content[i] = static_cast<std::byte>((i * 31 + i / 251 + seed * 97) & 0xFF);
  }
  return content;
}

class CopyReports final : public DeviceEvents {
 public:
  struct Report {
    std::vector<std::uint64_t> counts;  // in the order of their coming
    Status status;
  };

  void on_copied(Token token, std::uint64_t bytes, const Status& status) override {
    EXPECT_FALSE(inside_copy) << "reported before copy() returned";
    Report& report = reports[token];
    EXPECT_TRUE(report.status) << "reported after an error";
    EXPECT_TRUE(report.counts.empty() || bytes >= report.counts.back()) << "the count went back";
    report.counts.push_back(bytes);
    report.status = status;
    if (!status) ++errors;
  }
  // Whether it has come to its end: all bytes, or an error.
  [[nodiscard]] bool over(Token token, std::uint64_t bytes) const {
    const auto found = reports.find(token);
    if (found == reports.end()) return false;
    return !found->second.status || found->second.counts.back() == bytes;
  }
  [[nodiscard]] std::uint64_t count(Token token) const {
    const auto found = reports.find(token);
    return found == reports.end() ? 0 : found->second.counts.back();
  }
  [[nodiscard]] Errc error(Token token) const {
    const auto found = reports.find(token);
    if (found == reports.end() || found->second.status) return Errc::kOk;
    return found->second.status.error().code;
  }

  std::map<Token, Report> reports;
  std::size_t errors = 0;
  bool inside_copy = false;
};

class CudaCopierTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kPiece = 1000;

  void SetUp() override { start({}); }
  // Small pieces and no closing by time, unless the test wants it.
  void start(CudaCopierOptions options) {
    if (options.piece_bytes == CudaCopierOptions{}.piece_bytes) options.piece_bytes = kPiece;
    if (options.idle_close == CudaCopierOptions{}.idle_close) options.idle_close = kNever;
    copier_.reset();
    copier_ = std::make_unique<CudaCopier>(cuda_, mailbox_, options);
    copier_->set_events(reports_);
  }
  void copy(const DeviceSource& source, Bytes into, Token token) {
    reports_.inside_copy = true;
    copier_->copy(source, into, token);
    reports_.inside_copy = false;
  }
  // What the test waits for may happen on the copier's thread, which does not wake the loop.
  template <class Done>
  bool wait_until(Done&& done) {
    const TimeNs end = Loop::now_ns() + 10 * kSecond;
    while (!loop_.run_until(done, kMillisecond)) {
      if (Loop::now_ns() >= end) return false;
    }
    return true;
  }
  // Of all its bytes.
  bool wait_for(Token token, std::uint64_t bytes) {
    return wait_until([&] { return reports_.over(token, bytes); });
  }
  // Long enough for what must not happen to happen.
  void wait_a_while() {
    loop_.run_until([] { return false; }, 30 * kMillisecond);
  }
  // One copy from its beginning to its end.
  Status copy_all(const DeviceSource& source, Bytes into, Token token) {
    copy(source, into, token);
    if (!wait_for(token, into.size())) return fail(Errc::kTimeout, "no report came");
    return reports_.reports.at(token).status;
  }

  FakeCuda cuda_{3};
  TestLoop loop_;
  Mailbox mailbox_{loop_.get()};
  CopyReports reports_;
  std::unique_ptr<CudaCopier> copier_;
};

}  // namespace sidecar
