// members: who is in the cluster, once or as it changes.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "client/registration.h"
#include "client/sidecarctl/commands.h"
#include "client/sidecarctl/table.h"

namespace sidecar::ctl {
namespace {

using client_internal::MemberLine;
using Json = nlohmann::ordered_json;

std::string text_of(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json json_of(const MemberLine& member) {
  return {{"rank", member.rank},
          {"instance", member.instance == 0 ? Json() : Json(instance_text(member.instance))},
          {"node", member.node.empty() ? Json() : Json(member.node)},
          {"address", member.address},
          {"self", member.self}};
}

std::vector<std::string> cells_of(const MemberLine& member) {
  return {std::to_string(member.rank), member.instance == 0 ? "?" : instance_text(member.instance),
          member.node.empty() ? "?" : member.node, member.address, member.self ? "(asked)" : ""};
}

int watch(const Settings& settings, const client_internal::Contact& sidecar) {
  const auto show = [&](const std::string& change, const MemberLine& member) {
    if (settings.json) {
      Json json = {{"change", change}};
      json.update(json_of(member));
      std::puts(text_of(json, -1).c_str());
    } else {
      std::string line = change + std::string(10 - std::min<std::size_t>(change.size(), 9), ' ') + "rank";
      for (const std::string& cell : cells_of(member)) line += cell.empty() ? "" : " " + cell;
      std::puts(line.c_str());
    }
    std::fflush(stdout);
  };
  return failed("members", client_internal::watch_members(sidecar, show));
}

}  // namespace

int run_members(const Settings& settings, bool watches) {
  const auto sidecar = contact_of(settings);
  if (!sidecar) return failed("members", sidecar.error());
  if (watches) return watch(settings, *sidecar);
  const auto members = client_internal::ask_members(*sidecar, kAnswerDeadline);
  if (!members) return failed("members", members.error());
  if (settings.json) {
    Json json = Json::array();
    for (const MemberLine& member : *members) json.push_back(json_of(member));
    std::puts(text_of(json, 2).c_str());
    return kDone;
  }
  std::vector<std::vector<std::string>> rows{{"rank", "instance", "node", "address", ""}};
  for (const MemberLine& member : *members) rows.push_back(cells_of(member));
  print_table(rows, "rllll");
  return kDone;
}

}  // namespace sidecar::ctl
