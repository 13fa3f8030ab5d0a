#include "client/python/src/client.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <future>
#include <stdexcept>
#include <stop_token>

#include "client/python/src/process.h"

namespace sidecar::python {

namespace nb = nanobind;

namespace {

std::chrono::nanoseconds duration_of(double seconds) {
  constexpr double kLongest = 1e9;  // beyond what nanoseconds can count
  if (seconds < 0) return kDefaultDeadline;
  if (!(seconds < kLongest)) return kForever;
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
}

SendOptions options_of(const Where& where) {
  SendOptions options;
  options.stream = where.stream;
  options.deadline = duration_of(where.timeout);
  return options;
}

// `source` is what the bytes are in: kept until they were captured.
template <class Source>
PyClient::Sent sent(SendHandle handle, const Where& where, std::shared_ptr<Source> source) {
  auto captured = std::make_shared<CallStateOf<void>>();
  handle.captured.then([captured, source = std::move(source)](Expected<void> result) mutable {
    captured->set(std::move(result));
    source.reset();
  });
  Call delivered = Call::of(std::move(handle.delivered),
                            "send of '" + where.id + "', chunk " + std::to_string(where.chunk) + ",");
  return {Call(std::move(captured), [] {}), std::move(delivered)};
}

bool wait_for(const std::future<Expected<Client>>& client, std::chrono::milliseconds time) {
  const WithoutGil free;
  return client.wait_for(time) == std::future_status::ready;
}

template <class T>
void read(const nb::dict& settings, const char* name, T& value) {
  if (settings.contains(name)) value = nb::cast<T>(settings[name]);
}

void read(const nb::dict& settings, const char* name, std::chrono::nanoseconds& value) {
  if (settings.contains(name)) value = duration_of(nb::cast<double>(settings[name]));
}

ClientOptions client_options(const nb::dict& settings, ClientOptions options) {
  read(settings, "rank", options.rank);
  read(settings, "group", options.group);
  read(settings, "concurrent_copy", options.concurrent_copy);
  read(settings, "address", options.address);
  read(settings, "tls_ca", options.tls.ca);
  read(settings, "tls_cert", options.tls.cert);
  read(settings, "tls_key", options.tls.key);
  read(settings, "send_unit_bytes", options.send_unit_bytes);
  read(settings, "recv_unit_bytes", options.recv_unit_bytes);
  read(settings, "node", options.node);
  read(settings, "timeout", options.deadline);
  read(settings, "connect_timeout", options.connect_deadline);
  read(settings, "reconnect", options.reconnect);
  read(settings, "map_arenas", options.map_arenas);
  read(settings, "writable_views", options.writable_views);
  return options;
}

}  // namespace

nb::object to_python(Expected<void>&& result) {
  return result ? nb::none() : nb::cast(std::move(result).error());
}

nb::object to_python(Expected<View>&& result) {
  if (!result) return nb::cast(result.error());
  return nb::cast(new Chunk(*std::move(result), false), nb::rv_policy::take_ownership);
}

nb::object to_python(Expected<Buffer>&& result) {
  if (!result) return nb::cast(result.error());
  return nb::cast(new Memory(*std::move(result)), nb::rv_policy::take_ownership);
}

nb::object PyClient::connect(const nb::dict& settings) {
  check_not_forked();
  const Expected<ClientOptions> from_env = ClientOptions::from_env();
  if (!from_env) return nb::cast(from_env.error());
  ClientOptions options = client_options(settings, *from_env);
  std::stop_source stop;
  options.give_up = stop.get_token();
  // Python's signal handlers run in its main thread only, and only between calls like this one.
  auto connecting = std::async(std::launch::async, [&options] { return Client::connect(options); });
  while (!wait_for(connecting, std::chrono::milliseconds(50))) {
    if (PyErr_CheckSignals() == 0) continue;
    stop.request_stop();
    {
      const WithoutGil free;
      static_cast<void>(connecting.get());  // a client that came about all the same ends here
    }
    throw nb::python_error();
  }
  Expected<Client> client = connecting.get();
  if (!client) return nb::cast(client.error());
  return nb::cast(new PyClient(*std::move(client)), nb::rv_policy::take_ownership);
}

PyClient::~PyClient() {
  if (is_forked()) {
    let_go(std::move(client_));
    return;
  }
  const WithoutGil free;  // its end waits for the sidecar a moment
  client_ = Client();
}

void PyClient::close() {
  check_not_forked();
  const WithoutGil free;
  client_.close();
}

PyClient::Sent PyClient::send_object(nb::object data, std::uint32_t codec, const Where& where) {
  check_not_forked();
  release_dropped();
  char* bytes = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(data.ptr(), &bytes, &size) != 0) throw nb::python_error();
  const Object object{bytes, static_cast<std::size_t>(size), codec};
  auto source = std::make_shared<Kept>(std::move(data));
  return sent(
      client_.send_async(object, where.id, where.to, where.chunk, where.num_chunks, options_of(where)), where,
      std::move(source));
}

PyClient::Sent PyClient::send_array(GivenArray array, int dtype, std::uintptr_t stream, const Where& where) {
  check_not_forked();
  release_dropped();
  const std::optional<Dtype> own = dtype >= 0 ? static_cast<Dtype>(dtype) : dtype_of(array.dtype());
  if (!own || dtype >= kDtypeCount || array.dtype().bits != 8 * dtype_bytes(*own))
    throw nb::value_error("dtype: none that a sidecar knows");
  Tensor tensor;
  tensor.data = static_cast<const std::byte*>(array.data_handle()) + array.byte_offset();
  tensor.dtype = *own;
  for (std::size_t i = 0; i < array.ndim(); ++i) {
    tensor.shape.push_back(array.shape(i));
    tensor.strides.push_back(array.stride(i));
  }
  if (array.device_type() == nb::device::cuda::value) {
    tensor.on_gpu = true;
    tensor.stream = reinterpret_cast<void*>(stream);
  } else if (array.device_type() != nb::device::cpu::value &&
             array.device_type() != nb::device::cuda_host::value) {
    throw nb::value_error("device: neither the CPU nor a CUDA GPU");
  }
  auto source = std::make_shared<Kept>(nb::cast(std::move(array)));
  SendHandle handle = [&] {
    const WithoutGil free;  // a strided tensor is packed here, and a GPU may be waited for
    return client_.send_async(tensor, where.id, where.to, where.chunk, where.num_chunks, options_of(where));
  }();
  return sent(std::move(handle), where, std::move(source));
}

PyClient::Sent PyClient::send_memory(Memory& memory, const Where& where) {
  check_not_forked();
  release_dropped();
  return sent(client_.send_async(std::move(memory.buffer()), where.id, where.to, where.chunk,
                                 where.num_chunks, options_of(where)),
              where, std::shared_ptr<Kept>());
}

Call PyClient::allocate(std::vector<std::uint64_t> shape, int dtype, double timeout) {
  check_not_forked();
  if (dtype < 0 || dtype >= kDtypeCount) throw nb::value_error("dtype: none that a sidecar knows");
  return Call::of(client_.allocate_async(std::move(shape), static_cast<Dtype>(dtype), duration_of(timeout)));
}

Call PyClient::close_stream(const std::string& id, ChunkIndex num_chunks, const Groups& to, double timeout) {
  check_not_forked();
  return Call::of(client_.close_stream_async(id, num_chunks, to, duration_of(timeout)),
                  "close_stream of '" + id + "'");
}

Call PyClient::recv(const std::string& id, ChunkIndex chunk, double timeout) {
  check_not_forked();
  return Call::of(client_.recv_async(id, chunk, duration_of(timeout)));
}

Call PyClient::mark_done(const std::string& id, ChunkIndex chunk) {
  check_not_forked();
  return Call::of(client_.mark_done_async(id, chunk));
}

void bind_client(nb::module_& module) {
  nb::class_<Where>(module, "Where")
      .def(
          "__init__",
          [](Where* where, std::string id, Groups to, ChunkIndex chunk, ChunkIndex num_chunks, bool stream,
             double timeout) {
            new (where) Where{std::move(id), std::move(to), chunk, num_chunks, stream, timeout};
          },
          nb::arg("id"), nb::arg("to"), nb::arg("chunk"), nb::arg("num_chunks"), nb::arg("stream"),
          nb::arg("timeout"))
      .def_ro("id", &Where::id)
      .def_ro("to", &Where::to)
      .def_ro("timeout", &Where::timeout);
  nb::class_<PyClient>(module, "Client")
      .def_static("connect", &PyClient::connect)
      .def("close", &PyClient::close)
      .def("send_object", &PyClient::send_object)
      .def("send_array", &PyClient::send_array, nb::arg("array"), nb::arg("dtype"), nb::arg("stream"),
           nb::arg("where"))
      .def("send_memory", &PyClient::send_memory)
      .def("allocate", &PyClient::allocate)
      .def("close_stream", &PyClient::close_stream)
      .def("recv", &PyClient::recv)
      .def("mark_done", &PyClient::mark_done)
      .def_prop_ro("rank", [](PyClient& self) { return self.client().rank(); })
      .def_prop_ro("connected", [](PyClient& self) { return self.client().connected(); })
      .def_prop_ro("shares_memory", [](PyClient& self) { return self.client().shares_memory(); });
}

}  // namespace sidecar::python
