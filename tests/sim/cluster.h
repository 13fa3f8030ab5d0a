// The fixture of the tests in the simulated world: a few sidecars and clients, and at the end of every test
// the demand that nothing is left: no memory, no wait, no payload, no view.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/sim/client.h"
#include "tests/sim/sidecar.h"

namespace sidecar::sim {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;

// SIM_SEED replays a failure; otherwise each test has the same seed each time.
std::uint64_t seed_for_this_test();

// Everything that must be zero once nobody wants anything any more.
void expect_clean(SimSidecar& at, std::uint64_t data_left);

class Cluster : public ::testing::Test {
 protected:
  Cluster() : trace_(__FILE__, __LINE__, "SIM_SEED=" + std::to_string(world_.seed())) {}

  SimSidecar& add(Rank rank, const std::string& node, std::uint64_t arena_bytes = kMiB);
  SimSidecar& add(const SidecarSpec& spec) { return world_.add_sidecar(spec); }
  SimSidecar& sidecar(Rank rank) { return *world_.sidecar(rank); }
  // A new client, connected.
  SimClient& client(Rank rank, std::uint64_t unit_bytes = 0);
  SimClient& client(const ClientSpec& spec);

  // Runs the world until that request is over.
  const Outcome& wait(SimClient& client, RequestId request, TimeNs limit = 60 * kSecond);
  // Runs for that long, and wants the request to be open still.
  void expect_waits(SimClient& client, RequestId request, TimeNs duration = 2 * kSecond);
  // The calls, waited for.
  const Outcome& send(SimClient& from, const SendSpec& spec) { return wait(from, from.send(spec)); }
  const Outcome& recv(SimClient& at, const std::string& id, ChunkIndex chunk = 0) {
    return wait(at, at.recv(id, chunk));
  }
  const Outcome& done(SimClient& at, const std::string& id, ChunkIndex chunk = 0) {
    return wait(at, at.mark_done(id, chunk));
  }
  std::uint64_t allocate(SimClient& at, std::uint64_t bytes);
  // Runs until nothing is on its way any more, for the time a healthy world needs at most.
  void settle() { world_.run_for(100 * kMillisecond); }

  // What a test leaves on purpose: data that are not complete, so that something is remembered of them.
  void leaves_data(std::uint64_t count) { data_left_ = count; }
  void TearDown() override { finish(); }
  void finish();

  SimWorld world_{seed_for_this_test()};

 private:
  void mark_everything_done();

  std::uint64_t data_left_ = 0;
  bool finished_ = false;
  ::testing::ScopedTrace trace_;
};

// One group of one rank each.
std::vector<std::vector<Rank>> each(std::initializer_list<Rank> ranks);

// For what is about memory that processes share, allocated memory included.
#define NEEDS_MAPPED_ARENAS()                                                     \
  if (arenas_are_private())                                                       \
  GTEST_SKIP() << "arenas of this kind cannot be mapped, and this is about what " \
                  "is"

MATCHER_P(IsError, code, std::string("is ") + errc_name(code)) {
  *result_listener << errc_name(arg.reply.code) << ": " << arg.text();
  return arg.is_final && arg.reply.code == code;
}
MATCHER(IsOk, "is ok") {
  *result_listener << (arg.is_final ? errc_name(arg.reply.code) : "not over") << ": " << arg.text();
  return arg.ok();
}

}  // namespace sidecar::sim
