// What the processes that --local started did during a run, beside what was measured: CPU time of sidecars
// for objects, the longest step of their loops for streams, and CPU time of the other end for raw messages.
#pragma once

#include "perf/cluster.h"
#include "perf/tool/recorder.h"
#include "perf/tool/tests.h"

namespace sidecar::perf {

// `cluster`: null where there are none. Both outlive what is returned.
Recorder::Meanwhile meanwhile(const TestKind& test, Cluster* cluster, const Process& other);

// Figures' names. CPU time is in microseconds: of one sidecar for each object that passes it, of the other
// end for each message that it echoes or takes.
inline constexpr const char* kSidecarCpu = "sidecar_cpu_us";
inline constexpr const char* kOtherEndCpu = "other_end_cpu_us";

}  // namespace sidecar::perf
