// --compare: each test beside what the machine gives without us, in the same minutes.
#pragma once

#include <optional>

#include "perf/tool/result.h"
#include "perf/tool/session.h"

namespace sidecar::perf {

// Pairs of runs, in alternating order; nothing where the test has no reference. `job.count` is calibrated.
// `defaults`: what was set by hand in `session` is the reference, for the same without.
std::optional<Compared> compare(Session& session, const TestKind& test, const TestSettings& settings,
                                const Job& job, Session* defaults);

}  // namespace sidecar::perf
