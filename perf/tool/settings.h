// What the command line asks for. Options that ucx_perftest has too have its letters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "perf/tool/end.h"

namespace sidecar::perf {

inline constexpr std::uint16_t kPort = 13338;  // ucx_perftest's is 13337

// One line of a sweep, or the command line itself: a test at several sizes.
struct TestSettings {
  std::string test;
  std::vector<std::uint64_t> sizes;  // empty: the test's own
  std::vector<std::string> at;       // x of scaling tests, as -x takes it; empty: the test's own
  std::uint64_t iterations = 0;      // 0: as many as fit into `seconds`, by a warm-up
  std::uint64_t warmup = 0;          // 0: a tenth of the iterations
  double seconds = 1;
  std::uint32_t outstanding = 0;  // 0: the test's own
  std::uint64_t spacing_us = 0;
  std::string poll = std::thread::hardware_concurrency() > 2 ? "adaptive" : "event";  // as sidecard does
  std::string path = "net";                                                           // --local: net, local
  std::uint32_t groups = 4;
  std::string arena;  // --local; empty: what the test needs
  bool own_memory = false;
  bool check = false;
  std::vector<std::string> environment;  // --local: NAME=VALUE
  bool small_pages = false;              // --local
  bool compare = false;
  std::string reference;  // of --compare; empty: perftest where it can be had
  int pairs = 9;
};

struct OutputSettings {
  bool final_only = false;
  bool csv = false;
  bool json = false;
};

struct Settings {
  std::string host;  // empty: wait for the other end, or --local
  std::uint16_t port = kPort;
  bool local = false;
  bool once = false;  // the waiting side serves one other end only
  std::vector<Beside> sidecars;
  std::string cpus;
  TestSettings test;
  std::string batch;  // a file of further command lines
  OutputSettings output;
};

// "64", "4K", "1M": numbers with a unit. Lists have commas; "4K:256M" doubles from the one to the other.
// `option` is named where it cannot be.
inline constexpr std::uint64_t kOfSizes = 1024, kOfCounts = 1000;  // K
std::vector<std::uint64_t> parse_list(std::string_view text, const std::string& option, std::uint64_t k);
inline std::vector<std::uint64_t> parse_sizes(std::string_view text) {
  return parse_list(text, "-s", kOfSizes);
}
std::string size_text(std::uint64_t bytes);
// What was set by hand, for people: "UCX_MAX_RNDV_RAILS=2, small pages"; empty: nothing.
std::string hand_set(const TestSettings& test);
// "0@host:port" or "0@host:port/node"
Beside parse_beside(const std::string& text);
// "0,2-3"
std::vector<int> parse_cpus(const std::string& text);

}  // namespace sidecar::perf
