#include "sidecar/options.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace sidecar {
namespace {

Failure bad(const char* name, const std::string& why) {
  return {Errc::kInvalidArgument, kNoRank, std::string(name) + ": " + why};
}

template <class T>
bool parse(std::string_view text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

// True: not set, or set to a number that fits.
template <class T>
bool number_from(const char* name, T* value) {
  const char* const text = std::getenv(name);
  return text == nullptr || *text == '\0' || parse(text, value);
}

bool ranks_from(const char* name, Group* ranks) {
  const char* const set = std::getenv(name);
  if (set == nullptr || *set == '\0') return true;
  ranks->clear();
  std::string_view rest = set;
  for (;;) {
    const std::size_t comma = rest.find(',');
    Rank rank = kNoRank;
    if (!parse(rest.substr(0, comma), &rank) || rank < 0) return false;
    ranks->push_back(rank);
    if (comma == std::string_view::npos) return true;
    rest.remove_prefix(comma + 1);
  }
}

void text_from(const char* name, std::string* value) {
  if (const char* const text = std::getenv(name); text != nullptr) *value = text;
}

}  // namespace

inline namespace api {

Expected<ClientOptions> ClientOptions::from_env() {
  ClientOptions options;
  if (!number_from("SIDECAR_RANK", &options.rank) || options.rank < kNoRank) {
    return bad("SIDECAR_RANK", "not a rank (0, 1, ...)");
  }
  if (!ranks_from("SIDECAR_GROUP", &options.group))
    return bad("SIDECAR_GROUP", "not ranks with commas (2,3)");
  std::string concurrent;
  text_from("SIDECAR_CONCURRENT_COPY", &concurrent);
  if (!concurrent.empty() && concurrent != "0" && concurrent != "1") {
    return bad("SIDECAR_CONCURRENT_COPY", "not 0 or 1");
  }
  options.concurrent_copy = concurrent == "1";
  text_from("SIDECAR_ADDRESS", &options.address);
  text_from("SIDECAR_TLS_CA", &options.tls.ca);
  text_from("SIDECAR_TLS_CERT", &options.tls.cert);
  text_from("SIDECAR_TLS_KEY", &options.tls.key);
  text_from("SIDECAR_NODE", &options.node);
  if (!number_from("SIDECAR_SEND_UNIT_BYTES", &options.send_unit_bytes)) {
    return bad("SIDECAR_SEND_UNIT_BYTES", "not a number of bytes");
  }
  if (!number_from("SIDECAR_RECV_UNIT_BYTES", &options.recv_unit_bytes)) {
    return bad("SIDECAR_RECV_UNIT_BYTES", "not a number of bytes");
  }
  std::string polling;
  text_from("SIDECAR_POLL", &polling);
  if (polling == "event")
    options.polling = Polling::kEvent;
  else if (polling == "busy")
    options.polling = Polling::kBusy;
  else if (!polling.empty() && polling != "adaptive")
    return bad("SIDECAR_POLL", "not event, adaptive or busy");
  return options;
}

}  // namespace api
}  // namespace sidecar
