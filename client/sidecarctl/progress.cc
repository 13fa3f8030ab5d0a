#include "client/sidecarctl/progress.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include "client/sidecarctl/commands.h"

namespace sidecar::ctl {
namespace {

constexpr auto kFirst = std::chrono::milliseconds(500);  // what is quicker needs no line
constexpr auto kEvery = std::chrono::milliseconds(200);

}  // namespace

Progress::Progress(std::string what, std::optional<std::uint64_t> total_bytes)
    : what_(std::move(what)),
      total_(total_bytes),
      start_(std::chrono::steady_clock::now()),
      next_(start_ + kFirst),
      terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (std::exchange(shown_, false)) std::fputs("\r\033[K", stderr);
}

double Progress::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Progress::moved(std::uint64_t bytes) {
  bytes_ += bytes;
  if (!terminal_ || std::chrono::steady_clock::now() < next_) return;
  next_ = std::chrono::steady_clock::now() + kEvery;
  show();
}

void Progress::show() {
  const double rate = static_cast<double>(bytes_) / seconds();
  std::string line = what_ + " " + bytes_text(static_cast<double>(bytes_));
  if (total_ && *total_ > 0) {
    const double left = (static_cast<double>(*total_) - static_cast<double>(bytes_)) / rate;
    line += " of " + bytes_text(static_cast<double>(*total_)) + " (" +
            std::to_string(bytes_ * 100 / *total_) + " %), " + std::to_string(static_cast<int>(left + 0.5)) +
            " s left";
  }
  std::fprintf(stderr, "\r\033[K%s, %s/s", line.c_str(), bytes_text(rate).c_str());
  std::fflush(stderr);
  shown_ = true;
}

}  // namespace sidecar::ctl
