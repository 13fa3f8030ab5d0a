// What sidecard does around its life: the environment it needs, signals while no loop runs, ports that can be
// had.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/types.h"

namespace sidecar {

// UCX reads some settings before main() runs. When they are missing, sets them and executes this program
// again, once; returns when they are there (or cannot be set, with a warning). What the user set is kept.
void ensure_environment(char* const* argv);

// While no loop runs: SIGTERM, SIGINT and SIGHUP remove `file` (empty: nothing) and end the process with
// `code`.
void exit_on_signals(const std::string& file, int code);

// Ends the process with code 1 when it is still there after `seconds`. After exit_on_signals().
void limit_teardown(unsigned seconds);

// Why `host:port` cannot be listened at, for a message; nullopt when it can. Port 0: any.
std::optional<std::string> port_problem(const std::string& host, std::uint16_t port);

// The host as a numeric address, because links are made without asking a resolver. Empty: it has none.
std::string numeric_host(const std::string& host);

std::uint64_t random_bits();  // never 0

// Which allocator this program really runs on.
const char* allocator_name();

}  // namespace sidecar
