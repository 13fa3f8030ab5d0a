#include "tests/e2e/hosts.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sidecar::e2e {
namespace {

constexpr int kInterfaces = 2;

// Before main: every thread of a process that is to be seen from the hosts must be in the same namespace.
const int isolated = ::unshare(CLONE_NEWNET) == 0 ? 0 : errno;

bool run(std::vector<std::string> argv) {
  perf::Process process({.argv = std::move(argv)});
  return process.wait(perf::milliseconds(10'000)) == perf::Ending{.code = 0};
}

std::string first_of(std::initializer_list<const char*> paths) {
  for (const char* path : paths) {
    if (::access(path, X_OK) == 0) return path;
  }
  return "";
}

const std::string& ip() {
  static const std::string path = first_of({"/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"});
  return path;
}
const std::string& nft() {
  static const std::string path = first_of({"/usr/sbin/nft", "/sbin/nft"});
  return path;
}
const std::string& tc() {
  static const std::string path = first_of({"/usr/sbin/tc", "/sbin/tc"});
  return path;
}

std::string interface_name(int interface) { return "eth" + std::to_string(interface); }
std::string bridge_name(int interface) { return "br" + std::to_string(interface); }
std::string port_name(int host, int interface) {  // of the bridge
  return "h" + std::to_string(host) + "p" + std::to_string(interface);
}
std::string address_of(int interface, int last) {
  return "10." + std::to_string(77 + interface) + ".0." + std::to_string(last);
}

// Keeps a namespace as long as it lives. /sys has to be mounted in it: UCX looks there for interfaces, and
// would find the machine's.
perf::Process make_holder() {
  return perf::Process({.argv = {"/usr/bin/unshare", "--net", "--mount", "/bin/sh", "-c",
                                 "mount -t sysfs none /sys && echo begun && exec cat"},
                        .talk = true});
}
bool begin(perf::Process& holder) { return holder.read_line(perf::milliseconds(10'000)) == "begun"; }

bool make_bridges() {
  bool good = run({ip(), "link", "set", "lo", "up"});
  for (int i = 0; i < kInterfaces; ++i) {
    const std::string bridge = bridge_name(i);
    good = good && run({ip(), "link", "add", bridge, "type", "bridge"}) &&
           run({ip(), "address", "add", address_of(i, 254) + "/24", "dev", bridge}) &&
           run({ip(), "link", "set", bridge, "up"});
  }
  return good;
}

}  // namespace

std::string Hosts::unable() {
  if (isolated != 0) return std::string("no network namespace can be made here: ") + std::strerror(isolated);
  for (const auto& [name, path] : {std::pair{"ip", &ip()}, {"tc", &tc()}, {"nft", &nft()}}) {
    if (path->empty()) return std::string("the program ") + name + " is not installed";
  }
  static const bool holds = [] {
    perf::Process holder = make_holder();
    return begin(holder);
  }();
  if (!holds) return "no namespace with a /sys of its own can be made here";
  static const bool bridges = make_bridges();
  if (!bridges) return "no bridge can be made in a network namespace here";
  static const bool filters = run({nft(), "add", "table", "inet", "tried"});
  return filters ? "" : "packets cannot be filtered in a network namespace here";
}

Hosts::Hosts(int count) {
  for (int host = 0; host < count; ++host) {
    EXPECT_TRUE(begin(holders_.emplace_back(make_holder())));
    const std::string pid = std::to_string(holders_.back().pid());
    bool good = true;
    for (int i = 0; i < kInterfaces; ++i) {
      const std::string port = port_name(host, i);
      const std::string name = interface_name(i);
      good = good && run({ip(), "link", "add", port, "type", "veth", "peer", "name", name, "netns", pid}) &&
             run({ip(), "link", "set", port, "master", bridge_name(i), "up"});
      std::vector<std::string> give{ip(), "address", "add", address_of(i, host + 1) + "/24", "dev", name};
      std::vector<std::string> up{ip(), "link", "set", name, "up"};
      for (std::vector<std::string>* command : {&give, &up}) {
        const std::vector<std::string> inside = enter(host);
        command->insert(command->begin(), inside.begin(), inside.end());
        good = good && run(std::move(*command));
      }
    }
    std::vector<std::string> loopback = enter(host);
    for (const std::string& word :
         {ip(), std::string("link"), std::string("set"), std::string("lo"), std::string("up")})
      loopback.push_back(word);
    EXPECT_TRUE(good && run(std::move(loopback))) << "host " << host << " cannot be made";
    rule(host, "add table inet faults");
    rule(host, "add chain inet faults arriving { type filter hook input priority 0; }");
    rule(host, "add chain inet faults leaving { type filter hook output priority 0; }");
  }
}

// A namespace goes some time after its last process; the next ones with these addresses may come before that.
Hosts::~Hosts() {
  for (int host = 0; host < static_cast<int>(holders_.size()); ++host) {
    for (int i = 0; i < kInterfaces; ++i) EXPECT_TRUE(run({ip(), "link", "delete", port_name(host, i)}));
  }
  EXPECT_TRUE(run({ip(), "neighbour", "flush", "all"}));
}

std::vector<std::string> Hosts::enter(int host) const {
  const std::string of =
      "/proc/" + std::to_string(holders_.at(static_cast<std::size_t>(host)).pid()) + "/ns/";
  return {"/usr/bin/nsenter", "--net=" + of + "net", "--mount=" + of + "mnt"};
}

perf::Place Hosts::place(int host, int interface) const {
  return {enter(host), address_of(interface, host + 1)};
}

void Hosts::rule(int host, const std::string& text) const {
  std::vector<std::string> command = enter(host);
  command.push_back(nft());
  command.push_back(text);
  EXPECT_TRUE(run(std::move(command))) << "host " << host << ": " << text;
}

void Hosts::lose(int host, int percent) {
  rule(host, "add rule inet faults arriving iifname != lo numgen random mod 100 < " +
                 std::to_string(percent) + " drop");
}

void Hosts::limit(int host, int megabits) {
  for (int i = 0; i < kInterfaces; ++i) {
    std::vector<std::string> command = enter(host);
    for (const std::string& word :
         {tc(), std::string("qdisc"), std::string("replace"), std::string("dev"), interface_name(i),
          std::string("root"), std::string("tbf"), std::string("rate"), std::to_string(megabits) + "mbit",
          std::string("burst"), std::string("128k"), std::string("latency"), std::string("50ms")})
      command.push_back(word);
    EXPECT_TRUE(run(std::move(command))) << "host " << host << " cannot be limited";
  }
}

void Hosts::cut(int host, Way way) {
  if (way != Way::kOut) rule(host, "add rule inet faults arriving iifname != lo drop");
  if (way != Way::kIn) rule(host, "add rule inet faults leaving oifname != lo drop");
}

void Hosts::heal(int host) {
  rule(host, "flush chain inet faults arriving");
  rule(host, "flush chain inet faults leaving");
}

}  // namespace sidecar::e2e
