#include "control/peers.h"

#include <charconv>
#include <fstream>
#include <sstream>

#include "fmt/format.h"

namespace sidecar {
namespace {

constexpr std::string_view kPlaceholder = "%d";
constexpr std::string_view kBlank = " \t\r";

std::string_view trim(std::string_view text) {
  const auto begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

tl::expected<std::uint16_t, std::string> default_port(Rank rank) {
  if (rank > 65535 - kGrpcPortBase) {
    return tl::unexpected(
        fmt::format("rank {} needs an explicit port: {} + {} is none", rank, kGrpcPortBase, rank));
  }
  return static_cast<std::uint16_t>(kGrpcPortBase + rank);
}

std::string replace_all(std::string_view text, std::string_view what, std::string_view with) {
  std::string result;
  for (auto at = text.find(what); at != std::string_view::npos; at = text.find(what)) {
    result.append(text.substr(0, at)).append(with);
    text.remove_prefix(at + what.size());
  }
  return result.append(text);
}

// "rank=host:port"
tl::expected<std::pair<Rank, HostPort>, std::string> parse_entry(std::string_view entry,
                                                                 std::int64_t world_size) {
  const auto equals = entry.find('=');
  if (equals == std::string_view::npos) {
    return tl::unexpected(fmt::format("'{}' is not rank=host:port", entry));
  }
  const std::string_view rank_text = trim(entry.substr(0, equals));
  const auto rank = parse_number<Rank>(rank_text);
  if (!rank || *rank < 0 || *rank > kRankMax) {
    return tl::unexpected(fmt::format("'{}' is not a rank (0 to {})", rank_text, kRankMax));
  }
  if (world_size > 0 && *rank >= world_size) {
    return tl::unexpected(fmt::format("rank {} does not fit in a world of {}", *rank, world_size));
  }
  auto address = parse_host_port(trim(entry.substr(equals + 1)));
  if (!address) return tl::unexpected(address.error());
  if (address->port == 0) {
    const auto port = default_port(*rank);
    if (!port) return tl::unexpected(port.error());
    address->port = *port;
  }
  return std::pair{*rank, *address};
}

tl::expected<std::string, std::string> read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf()))
    return tl::unexpected(fmt::format("cannot read the peers file {}", path));
  return text.str();
}

}  // namespace

std::string HostPort::text() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

tl::expected<HostPort, std::string> parse_host_port(std::string_view text) {
  std::string_view host = text;
  std::string_view port;
  bool has_port = false;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos) return tl::unexpected(fmt::format("'{}' lacks a ']'", text));
    host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':')
      return tl::unexpected(fmt::format("'{}' is not host:port", text));
    has_port = !rest.empty();
    port = has_port ? rest.substr(1) : rest;
  } else if (const auto colon = text.find(':'); colon != std::string_view::npos) {
    if (text.find(':', colon + 1) != std::string_view::npos) {
      return tl::unexpected(fmt::format("'{}': an IPv6 address needs brackets, [address]:port", text));
    }
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    has_port = true;
  }
  if (host.empty() || host.find_first_of(" \t=/") != std::string_view::npos) {
    return tl::unexpected(fmt::format("'{}' is not host:port", text));
  }
  HostPort result{std::string(host), 0};
  if (has_port) {
    const auto number = parse_number<std::uint32_t>(port);
    if (!number || *number == 0 || *number > 65535) {
      return tl::unexpected(fmt::format("'{}' is not a port (1 to 65535)", port));
    }
    result.port = static_cast<std::uint16_t>(*number);
  }
  return result;
}

std::string ranks_text(const std::vector<Rank>& ranks) {
  std::string result = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (i == kRanksShown) return result + ", ...";
    result += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
  }
  return result;
}

tl::expected<StaticPeers, std::string> StaticPeers::parse(std::string_view spec, std::int64_t world_size) {
  spec = trim(spec);
  if (spec.starts_with('@')) {
    const std::string path(spec.substr(1));
    const auto text = read_file(path);
    if (!text) return tl::unexpected(text.error());
    return parse_list(*text, path, world_size);
  }
  if (spec.find('=') != std::string_view::npos || spec.find(',') != std::string_view::npos) {
    return parse_list(spec, "--peers", world_size);
  }
  auto pattern = parse_host_port(spec);
  if (!pattern) return tl::unexpected(fmt::format("--peers: {}", pattern.error()));
  if (world_size <= 0) {
    return tl::unexpected(fmt::format("--peers '{}' is a name pattern, which needs --world-size", spec));
  }
  if (world_size > kRankMax) return tl::unexpected(fmt::format("--world-size {} is too large", world_size));
  if (pattern->port != 0 && world_size > 1 && pattern->host.find(kPlaceholder) == std::string::npos) {
    return tl::unexpected(fmt::format(
        "--peers '{}' is one address for {} ranks: put %d (the rank) into the name", spec, world_size));
  }
  if (pattern->port == 0) {
    const auto last = default_port(static_cast<Rank>(world_size - 1));
    if (!last) return tl::unexpected(fmt::format("--peers '{}': {}", spec, last.error()));
  }
  StaticPeers peers;
  peers.pattern_ = *std::move(pattern);
  peers.pattern_ranks_ = static_cast<Rank>(world_size);
  return peers;
}

tl::expected<StaticPeers, std::string> StaticPeers::parse_list(std::string_view text, std::string_view name,
                                                               std::int64_t world_size) {
  StaticPeers peers;
  std::map<std::string, Rank> owners;  // of the addresses
  std::size_t line_number = 0;
  while (!text.empty()) {
    ++line_number;
    const auto line_end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, line_end);
    text.remove_prefix(std::min(line_end + 1, text.size()));
    line = line.substr(0, line.find('#'));
    const char* const line_begin = line.data();
    while (!line.empty()) {
      const auto entry_end = std::min(line.find(','), line.size());
      const std::string_view entry = trim(line.substr(0, entry_end));
      line.remove_prefix(std::min(entry_end + 1, line.size()));
      if (entry.empty()) continue;  // a trailing comma
      const auto place = [&] {
        return fmt::format("{}:{}:{}", name, line_number, entry.data() - line_begin + 1);
      };
      auto parsed = parse_entry(entry, world_size);
      if (!parsed) return tl::unexpected(fmt::format("{}: {}", place(), parsed.error()));
      if (!peers.listed_.emplace(parsed->first, parsed->second).second) {
        return tl::unexpected(fmt::format("{}: rank {} is listed twice", place(), parsed->first));
      }
      if (const auto other = owners.emplace(parsed->second.text(), parsed->first); !other.second) {
        return tl::unexpected(fmt::format("{}: ranks {} and {} have one address, {}", place(),
                                          other.first->second, parsed->first, parsed->second.text()));
      }
    }
  }
  if (peers.listed_.empty()) return tl::unexpected(fmt::format("{}: no peer is listed", name));
  return peers;
}

bool StaticPeers::knows(Rank rank) const {
  return (rank >= 0 && rank < pattern_ranks_) || listed_.contains(rank);
}

std::optional<HostPort> StaticPeers::find(Rank rank) const {
  if (const auto it = listed_.find(rank); it != listed_.end()) return it->second;
  if (rank < 0 || rank >= pattern_ranks_) return std::nullopt;
  const std::uint16_t port =
      pattern_.port != 0 ? pattern_.port : static_cast<std::uint16_t>(kGrpcPortBase + rank);
  return HostPort{replace_all(pattern_.host, kPlaceholder, std::to_string(rank)), port};
}

std::vector<Rank> StaticPeers::ranks() const {
  std::vector<Rank> result;
  for (Rank rank = 0; rank < pattern_ranks_; ++rank) result.push_back(rank);
  for (const auto& [rank, address] : listed_) result.push_back(rank);
  return result;
}

std::string StaticPeers::summary() const {
  if (pattern_ranks_ > 0) return fmt::format("ranks 0 to {}", pattern_ranks_ - 1);
  std::vector<Rank> listed;
  for (const auto& [rank, address] : listed_) listed.push_back(rank);
  return ranks_text(listed);
}

}  // namespace sidecar
