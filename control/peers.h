// Static membership: which ranks can exist and where each one's gRPC server is, as the configuration says.
// Immutable.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "core/types.h"

namespace sidecar {

inline constexpr int kGrpcPortBase = 10000;  // default gRPC port: this plus the rank
inline constexpr int kDataPortBase = 12000;  // default data port: this plus the rank
inline constexpr Rank kRankMax = 1'000'000;

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
  // "host:port", with brackets around an IPv6 address.
  [[nodiscard]] std::string text() const;
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

// "host", "host:port", "[v6]:port"; port 0 in the result: none was given.
tl::expected<HostPort, std::string> parse_host_port(std::string_view text);

// "ranks 0, 1, 7", shortened beyond kRanksShown: for messages.
inline constexpr std::size_t kRanksShown = 16;
std::string ranks_text(const std::vector<Rank>& ranks);

class StaticPeers {
 public:
  // `spec` is one of
  //   0=host:port,1=host:port     a list; without ":port" it is 10000 + rank
  //   @file                       the same, entries separated by commas or line ends, '#' starts a comment
  //   sidecar-%d.sidecars:10000   a pattern for ranks 0 .. world_size-1; %d is the rank, which the port
  //   defaults to host                        all ranks 0 .. world_size-1 on one host, at ports 10000 + rank
  // world_size 0: not said. The error names the line and column where there are any.
  static tl::expected<StaticPeers, std::string> parse(std::string_view spec, std::int64_t world_size);

  // The same for the text of a file; `name` is used in errors.
  static tl::expected<StaticPeers, std::string> parse_list(std::string_view text, std::string_view name,
                                                           std::int64_t world_size);

  [[nodiscard]] bool knows(Rank rank) const;
  // Empty for unknown ranks.
  [[nodiscard]] std::optional<HostPort> find(Rank rank) const;
  // All of them, ascending.
  [[nodiscard]] std::vector<Rank> ranks() const;
  // "ranks 0, 1, 7", shortened when long: for messages.
  [[nodiscard]] std::string summary() const;

 private:
  std::map<Rank, HostPort> listed_;
  // A pattern is kept as one: a million ranks cost nothing.
  HostPort pattern_;
  Rank pattern_ranks_ = 0;
};

}  // namespace sidecar
