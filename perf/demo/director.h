// The demo from its beginning to its end, in a process that may be killed at any time.
#pragma once

namespace sidecar::demo {

// Prints what happens and returns the exit code: 0 only when everything was as it should be.
int direct();

}  // namespace sidecar::demo
