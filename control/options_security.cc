#include "control/options_security.h"

#include <grp.h>

#include <cerrno>
#include <charconv>
#include <vector>

#include "core/tls_files.h"
#include "fmt/format.h"

namespace sidecar {
namespace {

using Completed = tl::expected<void, WrongSetting>;

tl::unexpected<WrongSetting> wrong(const std::string& flag, const std::string& text) {
  return tl::unexpected(WrongSetting{flag, text});
}

Completed check_tls(const TlsPaths& tls) {
  if (const auto problem = tls_problem(tls.ca, tls.cert, tls.key))
    return wrong(std::string("tls-") + problem->which, problem->text);
  if (!tls.ca.empty() && !tls.enabled())
    return wrong("tls-ca", "needs --tls-cert and --tls-key: what would this sidecar show the others?");
  return {};
}

// TLS is for gRPC alone; whoever has it has decided who may come, and knows that data go another way.
Completed check_listen(const Options& options) {
  if (is_loopback(options.listen) || options.insecure || options.tls.enabled()) return {};
  return wrong("listen", fmt::format("other machines can reach {}, and nothing is encrypted or "
                                     "authenticated: give --tls-cert, --tls-key and --tls-ca, or say "
                                     "--insecure if the network is trusted",
                                     options.listen));
}

std::optional<gid_t> group_of_number(const std::string& text) {
  gid_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool all = error == std::errc() && end == text.data() + text.size();
  if (!all || number == static_cast<gid_t>(-1)) return std::nullopt;  // which means "leave it" to the system
  return number;
}

std::optional<gid_t> group_of_name(const std::string& name) {
  std::vector<char> text(1024);
  while (true) {
    group entry{};
    group* found = nullptr;
    const int error = getgrnam_r(name.c_str(), &entry, text.data(), text.size(), &found);
    if (error == ERANGE && text.size() < (1u << 20)) {
      text.resize(text.size() * 2);
      continue;
    }
    return found == nullptr ? std::nullopt : std::optional(entry.gr_gid);
  }
}

Completed complete_group(Options& options) {
  if (options.shm_group.empty()) return {};
  if (options.arena == ArenaKind::kHost || options.arena == ArenaKind::kCuda)
    return wrong("shm-group", "has no effect: nobody can map an arena of this kind");
  options.shm_gid = group_of_name(options.shm_group);
  if (!options.shm_gid) options.shm_gid = group_of_number(options.shm_group);
  if (!options.shm_gid)
    return wrong("shm-group", fmt::format("'{}' is neither a group of this system nor a group's number",
                                          options.shm_group));
  return {};
}

}  // namespace

Completed complete_security(Options& options) {
  if (auto tls = check_tls(options.tls); !tls) return tls;
  if (auto listen = check_listen(options); !listen) return listen;
  return complete_group(options);
}

std::string tls_text(const TlsPaths& tls) {
  if (!tls.enabled()) return "off";
  return fmt::format("certificate {}, {}", tls.cert,
                     tls.ca.empty() ? std::string("clients need none")
                                    : fmt::format("clients need one signed by {}", tls.ca));
}

}  // namespace sidecar
