// How the demo's producer and consumers talk to the process that has started them: lines of words on a pipe.
// Data never goes this way.
#pragma once

#include <cstdint>
#include <string>

#include "sidecar/client.h"

namespace sidecar::demo {

// From a role to the director, the first word and what follows it:
//   input FILES TENSORS BYTES          the producer has chosen what to send
//   progress BYTES                     a consumer has that much
//   holds INODE OFFSET[,OFFSET...]     a reader holds views of all chunks of its datum and waits for a line
//   result DATA CHUNKS BYTES SECONDS   it is over and every hash was right
//   failed TEXT                        it is over
// From the director: one empty line to each reader when both hold the datum.

// Once, at the start of a role: its standard output, which is the pipe, is kept for reports; what libraries
// print goes to the log.
void open_reports();
void report(const std::string& line);
// Reports the failure and returns the exit code.
int report_failure(const std::string& what, const Failure& failure);
bool wait_for_director();

Expected<Client> connect_to(Rank rank, const std::string& address);

}  // namespace sidecar::demo
