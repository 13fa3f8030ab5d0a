#include "am_protocol/ucx.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace sidecar {
namespace {

Errc code_of(ucs_status_t status) {
  switch (status) {
    case UCS_ERR_CANCELED: return Errc::kCancelled;
    case UCS_ERR_NO_MEMORY: return Errc::kNoSpace;
    case UCS_ERR_TIMED_OUT: return Errc::kTimeout;
    case UCS_ERR_NOT_CONNECTED:
    case UCS_ERR_UNREACHABLE:
    case UCS_ERR_REJECTED: return Errc::kUnavailable;
    default: return Errc::kIo;
  }
}

// The transport's name in "lane[0]:  3:sysv/memory.0 md[2] -> ... am keepalive"; empty for the connection
// manager's lane.
std::string_view transport_in(std::string_view line) {
  const std::size_t lane = line.find("]:");
  const std::size_t begin = line.find(':', lane + 2);
  const std::size_t end = line.find('/', begin);
  if (lane == line.npos || begin == line.npos || end == line.npos) return {};
  return line.substr(begin + 1, end - begin - 1);
}

void append_once(std::string& list, std::string_view name) {
  if (name.empty() || list.find(name) != list.npos) return;
  if (!list.empty()) list += '+';
  list += name;
}

}  // namespace

Error ucx_error(ucs_status_t status, const char* what) {
  return {code_of(status), kNoRank, what, static_cast<std::uint64_t>(-static_cast<int>(status)), 0};
}

Error endpoint_error(ucs_status_t status, bool connected) {
  if (connected) return {Errc::kIo, kNoRank, "the connection broke", static_cast<std::uint64_t>(-status), 0};
  switch (status) {
    case UCS_ERR_NOT_CONNECTED:
    case UCS_ERR_REJECTED: return {Errc::kUnavailable, kNoRank, "nobody listens at that address", 0, 0};
    case UCS_ERR_UNREACHABLE: return {Errc::kUnavailable, kNoRank, "that address cannot be reached", 0, 0};
    default:
      return {Errc::kUnavailable, kNoRank, "the connection ended before it was accepted",
              static_cast<std::uint64_t>(-status), 0};
  }
}

std::string lanes_of(ucp_ep_h endpoint) {
  char* text = nullptr;
  std::size_t bytes = 0;
  std::FILE* const stream = open_memstream(&text, &bytes);
  if (stream == nullptr) return {};
  ucp_ep_print_info(endpoint, stream);
  std::fclose(stream);
  std::string messages, bulk;
  for (std::string_view rest(text, bytes); !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.find("lane[") == line.npos) continue;
    const std::string padded = std::string(line) + " ";
    if (padded.find(" am ") != padded.npos) append_once(messages, transport_in(line));
    if (padded.find(" rma_bw#") != padded.npos) append_once(bulk, transport_in(line));
  }
  std::free(text);
  append_once(messages, bulk);
  return messages;
}

}  // namespace sidecar
