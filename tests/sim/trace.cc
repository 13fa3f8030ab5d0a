#include "tests/sim/trace.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "tests/sim/contents.h"

namespace sidecar::sim {
namespace {

std::string name(const ChunkMeta& meta) { return name_of({std::string(meta.id.view()), meta.chunk}); }

struct Describe {
  std::string operator()(const Send& m) const {
    return fmt::format("Send #{} {} of {} bytes", m.request, name(m.meta), m.meta.bytes);
  }
  std::string operator()(const Recv& m) const {
    return fmt::format("Recv #{} {}", m.request, name_of({std::string(m.id.view()), m.chunk}));
  }
  std::string operator()(const MarkDone& m) const {
    return fmt::format("MarkDone #{} {}", m.request, name_of({std::string(m.id.view()), m.chunk}));
  }
  std::string operator()(const CloseStream& m) const {
    return fmt::format("CloseStream #{} {}", m.request, name_of({std::string(m.id.view()), m.num_chunks}));
  }
  std::string operator()(const Cancel& m) const { return fmt::format("Cancel #{}", m.target); }
  std::string operator()(const Reply& m) const {
    return fmt::format("Reply #{} stage {} {} {}", m.request, static_cast<int>(m.stage), errc_name(m.code),
                       m.text.view());
  }
  std::string operator()(const Chunk& m) const {
    return fmt::format("Chunk {} {}", m.transfer.sequence, name(m.meta));
  }
  std::string operator()(const ChunkRef& m) const {
    return fmt::format("ChunkRef {} {}", m.transfer.sequence, name(m.meta));
  }
  std::string operator()(const Unlink& m) const {
    return fmt::format("Unlink {} of {}", m.transfer.sequence, m.chunk_ref);
  }
  std::string operator()(const StreamEnd& m) const {
    return fmt::format("StreamEnd {} {}", m.transfer.sequence,
                       name_of({std::string(m.id.view()), m.num_chunks}));
  }
  std::string operator()(const Ack& m) const {
    return fmt::format("Ack {} x{} {} {}", m.sequence, m.count, errc_name(m.code), m.text.view());
  }
  std::string operator()(const Refuse& m) const { return fmt::format("Refuse {}", m.sequence); }
  std::string operator()(const Withdraw& m) const { return fmt::format("Withdraw {}", m.sequence); }
  std::string operator()(const Retract& m) const {
    return fmt::format("Retract {} {}/{}", m.transfer.sequence, m.id.view(), m.chunk);
  }
  std::string operator()(const Credit& m) const {
    return fmt::format("Credit {} resume {}", m.consumed, m.resume);
  }
  std::string operator()(const Ping&) const { return {}; }
  template <class Other>
  std::string operator()(const Other&) const {
    return "another message";
  }
};

}  // namespace

bool tracing() {
  static const bool on = std::getenv("SIM_TRACE") != nullptr;
  return on;
}

void trace(TimeNs now, const std::string& text) {
  std::printf("%12.3f ms  %s\n", static_cast<double>(now) / 1e6, text.c_str());
  std::fflush(stdout);
}

std::string describe(const Message& message) { return std::visit(Describe{}, message); }

}  // namespace sidecar::sim
