// The client library: hands tensors and small objects from one executor to others through its sidecar.
//
//   // the producer
//   auto client = sidecar::Client::connect({.rank = 0});
//   auto sent = client->send(sidecar::Tensor{data, sidecar::Dtype::kF32, {16, 4096}}, "request-1", {{2, 3}});
//
//   // a consumer
//   auto client = sidecar::Client::connect({.rank = 2, .group = {2, 3}});
//   auto view = client->recv("request-1");
//   use(view->bytes());
//   auto done = client->mark_done("request-1");
//
// Executors that work as one (tensor parallel) form a group: each connects with its own rank and the same
// group, and all make the same sends, as ClientOptions::concurrent_copy says. Any member may recv and
// mark_done; they share the group's data.
//
// Each call exists twice: waiting, and with _async returning a Future. Every call has a deadline, its own or
// that of the options. When the sidecar is lost, all calls under way end with kPeerLost naming its rank, and
// the client connects again by itself (ClientOptions::reconnect). Views of before stay mapped and, if the
// bytes lay in that sidecar's own arena, as they are; those that it had from a neighbour on the same node are
// the neighbour's again once their sidecar is dead, and may change. A Buffer of before can not be sent any
// more (kPeerLost).
//
// A client that is silent for longer than its lease, since its process was stopped, is lost to the sidecar:
// its calls end, and what it was sending. A thread of the library's own renews the lease, whoever makes
// progress.
//
// Threads: with Progress::kThread any thread may call anything, close() included. With Progress::kCaller one
// thread does everything, including destroying views. Callbacks (Future::then) run where progress is made and
// must neither block nor wait. Fork: a forked child must not touch a client, its views or its buffers; exec
// at once, or connect in the child. Only one thing throws: running out of memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "sidecar/data.h"
#include "sidecar/failure.h"
#include "sidecar/future.h"
#include "sidecar/options.h"

namespace sidecar {

struct ChunkMeta;
struct Destinations;
namespace client_internal {
class Runtime;
}

inline namespace api {

// Take the client's default deadline.
inline constexpr std::chrono::nanoseconds kDefaultDeadline{-1};

struct SendOptions {
  bool stream = false;  // num_chunks is not looked at: close_stream tells it later
  std::chrono::nanoseconds deadline = kDefaultDeadline;
  std::uint64_t unit_bytes = 0;  // this datum's unit, where it differs from ClientOptions::send_unit_bytes
};

// One send, two completions. Both end with the same failure if the chunk could not be taken over.
struct SendHandle {
  Future<void> captured;   // the source memory may be reused
  Future<void> delivered;  // every destination's sidecar holds the chunk
  void cancel() { delivered.cancel(); }
};

class Client {
 public:
  // Registers with the sidecar and connects to it; waits up to options.connect_deadline for one that is
  // starting.
  static Expected<Client> connect(ClientOptions options = {});

  Client() = default;  // connected to nothing: every call fails with kUnavailable
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();  // close()

  // Ends waiting calls with kCancelled and says goodbye. While views or unsent buffers are alive the
  // connection stays up for their sake; the last one to go closes it (and may take some milliseconds for
  // that).
  void close();

  // Sends one chunk to every group of `to`, none of which may hold a rank of the caller's own. The source
  // memory must stay untouched until `captured`. From 256 KiB on it is copied into the sidecar's arena by the
  // client's thread (Progress::kCaller: by who drives it), 256 KiB at a time. A tensor in GPU memory: see
  // Tensor.
  SendHandle send_async(const Tensor& tensor, std::string_view id, const Groups& to, ChunkIndex chunk = 0,
                        ChunkIndex num_chunks = 1, const SendOptions& options = {});
  SendHandle send_async(const Object& object, std::string_view id, const Groups& to, ChunkIndex chunk = 0,
                        ChunkIndex num_chunks = 1, const SendOptions& options = {});
  // Takes the buffer, unless an argument is refused (kInvalidArgument before anything was sent): then it
  // stays valid. In a group the first member's is sent, the others' are given back.
  SendHandle send_async(Buffer&& buffer, std::string_view id, const Groups& to, ChunkIndex chunk = 0,
                        ChunkIndex num_chunks = 1, const SendOptions& options = {});
  // Wait for `delivered`.
  Expected<void> send(const Tensor& tensor, std::string_view id, const Groups& to, ChunkIndex chunk = 0,
                      ChunkIndex num_chunks = 1, const SendOptions& options = {});
  Expected<void> send(const Object& object, std::string_view id, const Groups& to, ChunkIndex chunk = 0,
                      ChunkIndex num_chunks = 1, const SendOptions& options = {});
  Expected<void> send(Buffer&& buffer, std::string_view id, const Groups& to, ChunkIndex chunk = 0,
                      ChunkIndex num_chunks = 1, const SendOptions& options = {});

  // Memory to send from without a copy. Waits for room in the sidecar's arena.
  Future<Buffer> allocate_async(std::vector<std::uint64_t> shape, Dtype dtype,
                                std::chrono::nanoseconds deadline = kDefaultDeadline);
  Expected<Buffer> allocate(std::vector<std::uint64_t> shape, Dtype dtype,
                            std::chrono::nanoseconds deadline = kDefaultDeadline);

  // Tells the groups of a stream how many chunks it has; may come before, between or after the chunks. Every
  // member of a group may tell, all the same.
  Future<void> close_stream_async(std::string_view id, ChunkIndex num_chunks, const Groups& to,
                                  std::chrono::nanoseconds deadline = kDefaultDeadline);
  Expected<void> close_stream(std::string_view id, ChunkIndex num_chunks, const Groups& to,
                              std::chrono::nanoseconds deadline = kDefaultDeadline);

  // Waits for a chunk. Any number of processes may ask for the same one, any number of times. At or past the
  // end of the datum: a view with end_of_stream(). Deadline 0: the answer as things are now.
  Future<View> recv_async(std::string_view id, ChunkIndex chunk = 0,
                          std::chrono::nanoseconds deadline = kDefaultDeadline);
  Expected<View> recv(std::string_view id, ChunkIndex chunk = 0,
                      std::chrono::nanoseconds deadline = kDefaultDeadline);

  // Frees the chunk's memory in this sidecar, for good and for everybody. This client's views of it are void
  // from now on. Chunks may be done in any order, twice, and before they arrive.
  Future<void> mark_done_async(std::string_view id, ChunkIndex chunk = 0);
  Expected<void> mark_done(std::string_view id, ChunkIndex chunk = 0);

  // Progress::kCaller: becomes readable when poll() has work; -1 with a thread of the client's own.
  [[nodiscard]] int fd() const;
  // Progress::kCaller: how long a wait on fd() may last before poll() has to be called all the same.
  [[nodiscard]] std::chrono::nanoseconds poll_within() const;
  // Progress::kCaller: makes progress, waiting for work up to `wait_max`.
  void poll(std::chrono::nanoseconds wait_max = std::chrono::nanoseconds{0});

  [[nodiscard]] bool connected() const;  // false while the sidecar is lost, and after the client was closed
  [[nodiscard]] Rank rank() const;       // of the sidecar this client talks to: its group's leader
  [[nodiscard]] bool shares_memory()
      const;  // the sidecar's arena is mapped here: allocate and recv copy nothing

 private:
  struct Shared;
  explicit Client(std::shared_ptr<client_internal::Runtime> runtime);
  [[nodiscard]] std::shared_ptr<client_internal::Runtime> runtime() const;  // null: closed
  SendHandle send_from_gpu(const std::shared_ptr<client_internal::Runtime>& held, const Tensor& tensor,
                           const ChunkMeta& meta, const Destinations& to, std::chrono::nanoseconds deadline);
  std::shared_ptr<Shared> shared_;
};

}  // namespace api
}  // namespace sidecar
