// A client as Python calls it: every call starts at once and returns a Call.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <string>
#include <utility>

#include "client/python/src/call.h"
#include "client/python/src/data.h"
#include "sidecar/client.h"

namespace sidecar::python {

// Which chunk goes to whom, and how. Seconds; below 0: the client's default; infinity: no limit.
struct Where {
  std::string id;
  Groups to;
  ChunkIndex chunk = 0;
  ChunkIndex num_chunks = 1;
  bool stream = false;
  double timeout = -1;
};

class PyClient {
 public:
  explicit PyClient(Client client) : client_(std::move(client)) {}
  ~PyClient();
  PyClient(const PyClient&) = delete;
  PyClient& operator=(const PyClient&) = delete;

  // A Failure, or a client. Waits, without the GIL.
  static nanobind::object connect(const nanobind::dict& settings);
  void close();

  // captured, delivered
  using Sent = std::pair<Call, Call>;
  Sent send_object(nanobind::object data, std::uint32_t codec, const Where& where);
  // `dtype`: another type of the same size than the array says; -1: as it says. `stream`: of the GPU.
  Sent send_array(GivenArray array, int dtype, std::uintptr_t stream, const Where& where);
  Sent send_memory(Memory& memory, const Where& where);
  Call allocate(std::vector<std::uint64_t> shape, int dtype, double timeout);
  Call close_stream(const std::string& id, ChunkIndex num_chunks, const Groups& to, double timeout);
  Call recv(const std::string& id, ChunkIndex chunk, double timeout);
  Call mark_done(const std::string& id, ChunkIndex chunk);

  [[nodiscard]] Client& client() { return client_; }

 private:
  Client client_;
};

void bind_client(nanobind::module_& module);

}  // namespace sidecar::python
