#include "tests/sim/device.h"

#include <algorithm>
#include <cstring>

#include "tests/sim/sidecar.h"

namespace sidecar::sim {

DeviceSource device_source(std::uint64_t name, std::uint64_t offset) {
  DeviceSource source;
  std::memcpy(source.memory.data(), &name, sizeof name);
  source.offset = offset;
  return source;
}

void SimDevice::copy(const DeviceSource& source, Bytes into, Token token) {
  auto copy = std::make_shared<Copy>();
  std::memcpy(&copy->name, source.memory.data(), sizeof copy->name);
  copy->offset = source.offset;
  copy->into = into;
  copy->token = token;
  copy->fails = std::exchange(fail_next_, false);
  go_on(copy);
}

void SimDevice::go_on(const std::shared_ptr<Copy>& copy) {
  SimWorld& world = home_.world();
  world.post(home_, world.random().between(1, 50 * kMicrosecond), [this, copy, &world] {
    const bool cancelled = cancelled_.erase(copy->token) > 0;
    if (cancelled) {
      home_.engine().on_copied(copy->token, copy->done, fail(Errc::kCancelled, "nobody wants it"));
      return;
    }
    if (held_ && through_ == 0) return go_on(copy);
    if (held_) --through_;
    const auto memory = world.gpu_memories().find(copy->name);
    const std::uint64_t bytes = std::min<std::uint64_t>(kPieceBytes, copy->into.size() - copy->done);
    const bool there = memory != world.gpu_memories().end() && memory->second.owner->alive() &&
                       copy->offset + copy->into.size() <= memory->second.bytes.size();
    if (!there || copy->fails) {
      home_.engine().on_copied(copy->token, copy->done, fail(Errc::kIo, "GPU memory could not be copied"));
      return;
    }
    std::memcpy(copy->into.data() + copy->done, memory->second.bytes.data() + copy->offset + copy->done,
                bytes);
    copy->done += bytes;
    ++pieces_copied_;
    home_.engine().on_copied(copy->token, copy->done, {});
    if (copy->done < copy->into.size()) go_on(copy);
  });
}

}  // namespace sidecar::sim
