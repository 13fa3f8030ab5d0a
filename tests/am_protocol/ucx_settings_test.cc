// What is told to UCX arrives there, the user's own settings win, and addresses and the CMA probe mean what
// they say.
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <map>

#include "am_protocol/address.h"
#include "am_protocol/cma.h"
#include "am_protocol/devices.h"
#include "am_protocol/settings.h"
#include "tests/am_protocol/transport_fixture.h"

extern char** environ;

namespace sidecar::testing {
namespace {

std::map<std::string, std::string> environment() {
  std::map<std::string, std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    all[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
  }
  return all;
}

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

std::string in_force(PlaneKind kind, bool cma = true) {
  const auto plane = open_plane(kind, cma);
  EXPECT_TRUE(plane) << to_string(plane.error());
  return plane ? " " + plane->settings + " " : "";
}
bool has(const std::string& settings, const std::string& one) {
  return settings.find(" " + one + " ") != settings.npos || settings.find("_" + one + " ") != settings.npos;
}

TEST(UcxSettings, OursAreInForceWhereTheUserSaysNothing) {
  const std::string local = in_force(PlaneKind::kLocal);
  EXPECT_TRUE(has(local, "UCX_TLS=sysv,posix,cma,tcp")) << local;
  EXPECT_TRUE(has(local, "UCX_NET_DEVICES=lo")) << local;
  EXPECT_TRUE(has(local, "UCX_MAX_RNDV_RAILS=1")) << local;
  const std::string net = in_force(PlaneKind::kNet);
  EXPECT_TRUE(has(net, "UCX_TLS=^sm,self")) << net;
  EXPECT_TRUE(has(net, "UCX_MAX_RNDV_RAILS=1")) << net;
  EXPECT_NE(net.find("UCX_KEEPALIVE_INTERVAL=1"), net.npos) << net;
  EXPECT_TRUE(has(in_force(PlaneKind::kLocal, false), "UCX_TLS=sysv,posix,tcp"));
}

TEST(UcxSettings, TheUsersWin) {
  const Variable tls("UCX_TLS", "tcp");
  const Variable rails("UCX_MAX_RNDV_RAILS", "2");
  const std::string net = in_force(PlaneKind::kNet);
  EXPECT_TRUE(has(net, "UCX_TLS=tcp")) << net;
  EXPECT_TRUE(has(net, "UCX_MAX_RNDV_RAILS=2")) << net;
  const std::string local = in_force(PlaneKind::kLocal);
  EXPECT_TRUE(has(local, "UCX_TLS=sysv,posix,cma,tcp")) << "UCX_TLS is about the network" << local;
  EXPECT_TRUE(has(local, "UCX_MAX_RNDV_RAILS=2")) << local;
}

TEST(UcxSettings, OnePlaneCanBeSetAlone) {
  const Variable tls("SIDECAR_LOCAL_UCX_TLS", "posix,tcp");
  const Variable interval("SIDECAR_NET_UCX_KEEPALIVE_INTERVAL", "3s");
  EXPECT_TRUE(has(in_force(PlaneKind::kLocal), "UCX_TLS=posix,tcp"));
  const std::string net = in_force(PlaneKind::kNet);
  EXPECT_TRUE(has(net, "UCX_TLS=^sm,self")) << net;
  EXPECT_NE(net.find("UCX_KEEPALIVE_INTERVAL=3"), net.npos) << net;
  EXPECT_NE(in_force(PlaneKind::kLocal).find("UCX_KEEPALIVE_INTERVAL=1"), std::string::npos);
}

TEST(UcxSettings, TheNetworkPlaneUsesTheInterfaceThatOthersReachItAt) {
  EXPECT_EQ(devices_for("127.0.0.1"), "") << "a loopback address: as UCX likes";
  EXPECT_EQ(devices_for("::1"), "");
  EXPECT_EQ(devices_for("192.0.2.1"), "") << "nobody's here";
  EXPECT_EQ(devices_for("no address"), "");
  ifaddrs* raw = nullptr;
  ASSERT_EQ(getifaddrs(&raw), 0);
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> all(raw, freeifaddrs);
  for (const ifaddrs* each = all.get(); each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || each->ifa_addr->sa_family != AF_INET) continue;
    if ((each->ifa_flags & IFF_LOOPBACK) != 0) continue;
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr, text, sizeof text);
    EXPECT_EQ(devices_for(text).rfind(each->ifa_name, 0), 0u) << text << ": " << devices_for(text);
  }
  const auto plane = open_plane(PlaneKind::kNet, true, "lo");
  ASSERT_TRUE(plane) << to_string(plane.error());
  EXPECT_TRUE(has(" " + plane->settings + " ", "UCX_NET_DEVICES=lo")) << plane->settings;
}

TEST(UcxSettings, TheEnvironmentIsAsItWas) {
  const Variable mine("UCX_TCP_TX_SEG_SIZE", "16K");
  const auto before = environment();
  static_cast<void>(in_force(PlaneKind::kLocal));
  static_cast<void>(in_force(PlaneKind::kNet));
  EXPECT_EQ(environment(), before);
}

TEST(UcxSettings, NonsenseIsAnErrorAndNoCrash) {
  const Variable tls("UCX_TLS", "carrier-pigeon");
  const auto plane = open_plane(PlaneKind::kNet, false);
  ASSERT_FALSE(plane);
  EXPECT_EQ(plane.error().code, Errc::kIo);
}

TEST(UcxSettings, WithoutSharedMemoryTheNetworkIsEnough) {
  const Variable tls("SIDECAR_LOCAL_UCX_TLS", "carrier-pigeon");
  TestLoop loop;
  UcxOptions options;
  options.local_listen = options.net_listen = "127.0.0.1:0";
  const auto transport = UcxTransport::create(options, *loop);
  ASSERT_TRUE(transport);
  EXPECT_TRUE((*transport)->local_address().empty());
  EXPECT_FALSE((*transport)->net_address().empty());
  options.net = false;
  EXPECT_FALSE(UcxTransport::create(options, *loop));
}

TEST(UcxSettings, LanesFollowTheProbe) {
  for (const bool cma : {true, false}) {
    TestLoop loop;
    UcxOptions options = server_options(true);
    options.cma = cma;
    Side server(options, *loop);
    UcxOptions client_wants = client_options(true);
    client_wants.cma = cma;
    Side client(client_wants, *loop);
    const LinkId link = client.connect({true, true, server.transport->local_address()}, hello_of(1));
    ASSERT_TRUE(loop.run_until([&] { return !client.ups.empty(); }));
    const std::string lanes(client.transport->facts(link).transports.view());
    EXPECT_EQ(lanes.find("cma") != lanes.npos, cma && cma_works()) << lanes;
    EXPECT_EQ(lanes.substr(0, 4), "sysv");
  }
}

TEST(UcxSettings, CmaIsRefusedBetweenUsers) {
  EXPECT_TRUE(cma_works_with(0));
  EXPECT_TRUE(cma_works_with(getpid()));
  EXPECT_TRUE(cma_works_with(1 << 30));  // nobody: nothing is known
  if (geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = _Fork();
  if (child == 0) {
    if (setuid(65534) != 0) _exit(1);
    if (write(ends[1], "x", 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(ends[0], &byte, 1), 1);
  EXPECT_FALSE(cma_works_with(child));

  // And so is that process's connection.
  TestLoop loop;
  Side server(server_options(true), *loop);
  Side client(client_options(true), *loop);
  Hello hello = hello_of(1);
  hello.pid = child;
  client.connect({true, false, server.transport->local_address()}, hello);
  ASSERT_TRUE(loop.run_until([&] { return !client.ups.empty() || !client.downs.empty(); }));
  if (cma_works()) {
    ASSERT_EQ(client.downs.size(), 1u);
    EXPECT_EQ(client.downs[0].second.code, Errc::kUnavailable);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Address, TextAndBack) {
  for (const char* text : {"127.0.0.1:12000", "0.0.0.0:1", "[::1]:65535", "[fe80::1]:7"}) {
    const auto address = parse_address(text, HostNames::kRefuse);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(format_address(address->storage).view(), text);
  }
  for (const char* text :
       {"localhost:80", "", ":80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:99999", "1.2.3.4:http", "[::1"}) {
    EXPECT_FALSE(parse_address(text, HostNames::kRefuse)) << text;
  }
}

TEST(Address, NamesAreLookedUpWhereThatMayTakeTime) {
  addrinfo* found = nullptr;
  if (getaddrinfo("localhost", nullptr, nullptr, &found) != 0) {
    GTEST_SKIP() << "this machine does not know localhost (no /etc/hosts?)";
  }
  freeaddrinfo(found);
  EXPECT_TRUE(parse_address("localhost:80", HostNames::kResolve));
}

}  // namespace
}  // namespace sidecar::testing
