// The C++ client's own times, for the Python package's to be set beside them (perf/python_bench.py): waits
// for a line on standard input, measures, and answers with a line, so that the two sides can take turns.
//
//   client_times CONSUMER-RANK ADDRESS PRODUCER-RANK ADDRESS
//   recv ID N      N receives of a chunk that is there: the median, in microseconds
//   object N       N small objects, each sent to the consumer and received there: the median
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "perf/bench.h"

namespace sidecar::perf {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

Client connect(const char* rank, const char* address) {
  ClientOptions options;
  options.rank = std::stoi(rank);
  options.address = address;
  return must(Client::connect(options), "connect");
}

// Between two calls, on both sides: or the next one finds the client's thread still awake from the last, if
// it comes a few microseconds sooner than the other side's.
void rest() {
  constexpr double kRestUs = 150;
  for (const auto begin = Clock::now(); microseconds_since(begin) < kRestUs;) {
  }
}

double median_of(std::vector<double> times) {
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

double time_recv(Client& consumer, const std::string& id, int count) {
  std::vector<double> times;
  std::vector<View> views;  // given up afterwards, on both sides
  for (int i = 0; i < count; ++i) {
    rest();
    const auto begin = Clock::now();
    views.push_back(must(consumer.recv(id), "recv"));
    times.push_back(microseconds_since(begin));
  }
  return median_of(std::move(times));
}

double time_objects(Client& producer, Client& consumer, int count) {
  static int round = 0;
  std::vector<double> times;
  const std::string text = "a small object";
  for (int i = 0; i < count; ++i) {
    const std::string id = "cpp-" + std::to_string(round++);
    rest();
    const auto begin = Clock::now();
    SendHandle sent = producer.send_async(Object{text.data(), text.size(), 0}, id, {{consumer.rank()}});
    const View view = must(consumer.recv(id), "recv");
    times.push_back(microseconds_since(begin));
    must(sent.delivered.get(), "send");
    must(consumer.mark_done(id), "mark_done");
  }
  return median_of(std::move(times));
}

}  // namespace
}  // namespace sidecar::perf

int main(int argc, char** argv) {
  using namespace sidecar::perf;
  if (argc != 5) give_up("usage: client_times CONSUMER ADDRESS PRODUCER ADDRESS");
  sidecar::Client consumer = connect(argv[1], argv[2]);
  sidecar::Client producer = connect(argv[3], argv[4]);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what;
    std::string id;
    int count = 0;
    words >> what;
    if (what == "recv") words >> id;
    words >> count;
    const double time =
        what == "recv" ? time_recv(consumer, id, count) : time_objects(producer, consumer, count);
    std::printf("%.3f\n", time);
    std::fflush(stdout);
  }
}
