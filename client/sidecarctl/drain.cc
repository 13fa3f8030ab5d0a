// drain: ends a sidecar in order.
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "client/registration.h"
#include "client/sidecarctl/commands.h"

namespace sidecar::ctl {
namespace {

constexpr std::chrono::seconds kEndLimit{30};  // it takes its arena down

// The process is over once nothing answers at its address.
bool wait_for_end(const client_internal::Contact& sidecar) {
  const auto end = std::chrono::steady_clock::now() + kEndLimit;
  while (std::chrono::steady_clock::now() < end) {
    if (!client_internal::ask_status(sidecar, std::chrono::seconds(2))) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return false;
}

}  // namespace

int run_drain(const Settings& settings) {
  const auto sidecar = contact_of(settings);
  if (!sidecar) return failed("drain", sidecar.error());
  const auto status = client_internal::ask_status(*sidecar, std::chrono::seconds(5));
  if (!status) return failed("drain", status.error());
  const auto result = client_internal::ask_drain(*sidecar, deadline_of(settings));
  if (!result) return failed("drain", result.error());
  const bool ended = wait_for_end(*sidecar);
  if (settings.json) {
    std::puts(nlohmann::ordered_json{{"rank", status->rank},
                                     {"finished", result->finished},
                                     {"outgoing_left", result->outgoing_left},
                                     {"chunks_left", result->chunks_left},
                                     {"ended", ended}}
                  .dump()
                  .c_str());
  } else if (result->finished) {
    std::printf("rank %d has drained%s\n", status->rank, ended ? " and ended" : "; it is still ending");
  }
  if (result->finished && ended) return kDone;
  if (!result->finished) {
    std::fprintf(stderr,
                 "sidecarctl drain: rank %d: the time was not enough: %llu sends and %llu chunks that were "
                 "not marked done are given up; see --timeout\n",
                 status->rank, static_cast<unsigned long long>(result->outgoing_left),
                 static_cast<unsigned long long>(result->chunks_left));
  }
  return kFailed;
}

}  // namespace sidecar::ctl
