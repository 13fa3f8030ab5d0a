// One reader per message, from a table that the verifier has passed. Each writes every field of `out`, since
// `out` may hold an older message; what is to be answered (request, sequence) comes before anything that can
// fail.
#pragma once

#include "am_protocol/decode_parts.h"

namespace sidecar {

Fault read(const wire::Hello& in, std::uint64_t, Hello& out);
Fault read(const wire::HelloAck& in, std::uint64_t, HelloAck& out);
Fault read(const wire::Goodbye& in, std::uint64_t, Goodbye& out);
Fault read(const wire::Ping& in, std::uint64_t, Ping& out);
Fault read(const wire::Credit& in, std::uint64_t, Credit& out);
Fault read(const wire::Send& in, std::uint64_t payload_bytes, Send& out);
Fault read(const wire::Recv& in, std::uint64_t, Recv& out);
Fault read(const wire::Cancel& in, std::uint64_t, Cancel& out);
Fault read(const wire::Allocate& in, std::uint64_t, Allocate& out);
Fault read(const wire::Release& in, std::uint64_t, Release& out);
Fault read(const wire::Filled& in, std::uint64_t, Filled& out);
Fault read(const wire::MarkDone& in, std::uint64_t, MarkDone& out);
Fault read(const wire::CloseStream& in, std::uint64_t, CloseStream& out);
Fault read(const wire::Reply& in, std::uint64_t payload_bytes, Reply& out);
Fault read(const wire::Chunk& in, std::uint64_t payload_bytes, Chunk& out);
Fault read(const wire::ChunkRef& in, std::uint64_t, ChunkRef& out);
Fault read(const wire::Unlink& in, std::uint64_t, Unlink& out);
Fault read(const wire::StreamEnd& in, std::uint64_t, StreamEnd& out);
Fault read(const wire::Ack& in, std::uint64_t, Ack& out);
Fault read(const wire::Refuse& in, std::uint64_t, Refuse& out);
Fault read(const wire::Withdraw& in, std::uint64_t, Withdraw& out);
Fault read(const wire::Retract& in, std::uint64_t, Retract& out);

}  // namespace sidecar
