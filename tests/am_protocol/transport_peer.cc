// The other side of the transport's tests as a process of its own, to be killed, stopped or left alone.
//   transport_peer local|net listen hold|receive          prints its address, then holds or receives every
//   payload transport_peer local|net connect ADDRESS COUNT BYTES  sends COUNT payloads by rendezvous and says
//   "sent"
#include <sys/prctl.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/am_protocol/transport_fixture.h"

namespace sidecar::testing {
namespace {

void say(std::string_view line) {
  std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
  std::fflush(stdout);
}

[[noreturn]] void stay(TestLoop& loop) {
  for (;;) loop.run_until([] { return false; }, kSecond);
}

[[noreturn]] void listen(TestLoop& loop, bool local, bool hold) {
  Side side(server_options(local), *loop);
  static std::vector<std::byte> into(64u << 20);
  if (!hold) {
    side.message_hook = [&side](LinkId, const Message&, const Incoming& incoming) {
      if (incoming.present()) side.receive(incoming, std::span(into).first(incoming.bytes));
    };
  }
  say((local ? side.transport->local_address() : side.transport->net_address()).view());
  stay(loop);
}

[[noreturn]] void connect(TestLoop& loop, bool local, const char* address, std::uint64_t count,
                          std::size_t bytes) {
  Side side(client_options(local), *loop);
  const LinkId link = side.connect({local, true, Name(address)}, hello_of(900));
  const std::vector<std::byte> data = pattern(bytes, 900);
  loop.run_until([&] { return !side.ups.empty(); });
  for (std::uint64_t i = 0; i < count; ++i) side.send(link, chunk_of(bytes, i + 1), data, true);
  say("sent");
  stay(loop);
}

}  // namespace
}  // namespace sidecar::testing

int main(int argc, char** argv) {
  using namespace sidecar::testing;
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // never outlives its test
  const std::string plane = argc > 2 ? argv[1] : "";
  const std::string mode = argc > 2 ? argv[2] : "";
  sidecar::TestLoop loop;
  if (mode == "listen" && argc == 4) listen(loop, plane == "local", std::string(argv[3]) == "hold");
  if (mode == "connect" && argc == 6) {
    connect(loop, plane == "local", argv[3], std::strtoull(argv[4], nullptr, 10),
            std::strtoull(argv[5], nullptr, 10));
  }
  return 2;
}
