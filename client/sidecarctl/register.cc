// register: gives a process that has no gRPC of its own what it needs to say Hello to the sidecar.
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>

#include "am_protocol/transport.h"
#include "client/arguments.h"
#include "client/registration.h"
#include "client/renewal.h"
#include "client/sidecarctl/commands.h"
#include "client/sidecarctl/table.h"

namespace sidecar::ctl {
namespace {

using client_internal::Registered;
using client_internal::RegisterInput;
using Json = nlohmann::ordered_json;

// Without a promise to renew: nobody would, and so the registration lasts as long as the connection.
Expected<RegisterInput> input_of(const Settings& settings, const RegisterArguments& arguments) {
  Expected<ClientOptions> options = options_of(settings);
  if (!options) return options.error();
  if (Failure failure = client_internal::complete(*options); failure.code != Errc::kOk) return failure;
  Expected<RegisterInput> input = client_internal::register_input(*options);
  if (!input) return input;
  input->instance = client_internal::random_instance();
  input->ucx_version = arguments.ucx_version.empty() ? ucx_version() : arguments.ucx_version;
  input->pid = arguments.pid != 0 ? arguments.pid : ::getppid();
  input->renews = false;
  return input;
}

Json json_of(const RegisterInput& input, const Registered& registered) {
  Json json = {{"ticket", registered.ticket},
               {"rank", input.rank},
               {"instance", instance_text(input.instance)},
               {"pid", input.pid},
               {"sidecar_rank", registered.leader},
               {"sidecar_instance", instance_text(registered.sidecar)},
               {"net_address", registered.net_address},
               {"local_address", registered.local_address},
               {"ucx_version", input.ucx_version},
               {"node", registered.node}};
  const ArenaInfo& arena = registered.arena;
  json["arena_path"] = std::string(arena.path.view());
  json["arena_instance"] = instance_text(arena.instance);
  json["arena_nonce"] = instance_text(arena.nonce);
  json["arena_bytes"] = arena.bytes;
  return json;
}

// As a shell reads it back; bare where that makes no difference.
std::string quoted(const std::string& text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@%+,[]";
  if (text.find_first_not_of(kPlain) == text.npos) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace

int run_register(const Settings& settings, const RegisterArguments& arguments) {
  const Expected<RegisterInput> input = input_of(settings, arguments);
  if (!input) return failed("register", input.error());
  const auto registered = client_internal::register_client(*input, kAnswerDeadline);
  if (!registered) return failed("register", registered.error());
  const Json json = json_of(*input, *registered);
  if (settings.json) {
    std::puts(json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    return kDone;
  }
  for (const auto& [name, value] : json.items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    std::printf("%s=%s\n", name.c_str(), quoted(text).c_str());
  }
  return kDone;
}

}  // namespace sidecar::ctl
