#include "tests/gpu/producer.h"

#include <cstring>
#include <iostream>
#include <sstream>

#include "core/cuda_driver.h"

namespace sidecar {
namespace {

constexpr std::chrono::milliseconds kPatience{60'000};

std::string hex_of(const std::byte* data, std::size_t bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) {
    text += kDigits[std::to_integer<unsigned>(data[i]) >> 4];
    text += kDigits[std::to_integer<unsigned>(data[i]) & 15];
  }
  return text;
}

bool from_hex(const std::string& text, std::byte* data, std::size_t bytes) {
  if (text.size() != 2 * bytes) return false;
  for (std::size_t i = 0; i < bytes; ++i) {
    data[i] = static_cast<std::byte>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  }
  return true;
}

// One command's work in the producer's process; what it makes lives until the process ends.
struct Tensor {
  CudaAddress address{};
  CudaIpcHandle memory{};
  CudaIpcHandle event{};
};

Result<Tensor> allocate(CudaApi& cuda, int device, std::uint64_t bytes) {
  Tensor tensor;
  const auto address = cuda.allocate(device, bytes);
  if (!address) return tl::unexpected(address.error());
  tensor.address = *address;
  const auto facts = cuda.pointer(reinterpret_cast<const void*>(static_cast<std::uint64_t>(*address)));
  if (!facts) return tl::unexpected(facts.error());
  if (!facts->exportable || facts->device != device) return fail(Errc::kInternal, "cannot be exported");
  const auto handle = cuda.export_memory(device, facts->allocation.address);
  if (!handle) return tl::unexpected(handle.error());
  tensor.memory = *handle;
  return tensor;
}

Result<Tensor> make(CudaApi& cuda, int device, CudaStream stream, std::uint64_t bytes, std::uint64_t seed) {
  auto tensor = allocate(cuda, device, bytes);
  if (!tensor) return tensor;
  const auto content = gpu_pattern(bytes, seed);
  Status status = cuda.copy_to_device(device, tensor->address, content.data(), bytes, stream);
  if (status) status = cuda.synchronize(device, stream);
  if (!status) return tl::unexpected(status.error());
  return tensor;
}

Result<Tensor> slow(CudaApi& cuda, int device, CudaStream stream, std::uint64_t bytes, std::uint64_t rounds,
                    std::uint8_t value) {
  auto tensor = allocate(cuda, device, bytes);
  if (!tensor) return tensor;
  const auto event = cuda.create_event(device, true);
  if (!event) return tl::unexpected(event.error());
  const auto handle = cuda.export_event(device, *event);
  if (!handle) return tl::unexpected(handle.error());
  tensor->event = *handle;
  for (std::uint64_t round = 0; round <= rounds; ++round) {
    const std::uint8_t now = round == rounds ? value : static_cast<std::uint8_t>(~value);
    const Status status = cuda.fill(device, tensor->address, now, bytes, stream);
    if (!status) return tl::unexpected(status.error());
  }
  const Status recorded = cuda.record_event(device, *event, stream);
  if (!recorded) return tl::unexpected(recorded.error());
  return tensor;
}

}  // namespace

std::vector<std::byte> gpu_pattern(std::uint64_t bytes, std::uint64_t seed) {
  std::vector<std::byte> content(bytes + 8);
  for (std::uint64_t at = 0; at < bytes; at += 8) {
    std::uint64_t word = (seed << 40) + at + 0x9E3779B97F4A7C15;
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9;
    word ^= word >> 31;
    std::memcpy(content.data() + at, &word, sizeof word);
  }
  content.resize(bytes);
  return content;
}

int gpu_producer() {
  const auto cuda = load_cuda();
  if (!cuda) return 1;
  std::vector<CudaStream> streams;
  for (int device = 0; device < (*cuda)->devices(); ++device) {
    const auto stream = (*cuda)->create_stream(device);
    if (!stream) return 1;
    streams.push_back(*stream);
  }
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string what;
    int device = 0;
    std::uint64_t bytes = 0;
    std::uint64_t rounds_or_seed = 0;
    unsigned value = 0;
    words >> what >> device >> bytes >> rounds_or_seed >> value;
    const CudaStream stream = streams.at(static_cast<std::size_t>(device));
    const auto made = what == "make" ? make(**cuda, device, stream, bytes, rounds_or_seed)
                                     : slow(**cuda, device, stream, bytes, rounds_or_seed,
                                            static_cast<std::uint8_t>(value));
    if (!made) {
      std::cout << "failed " << to_string(made.error()) << std::endl;
      continue;
    }
    const CudaUuid& uuid = (*cuda)->device(device).uuid;
    std::cout << "ok " << hex_of(uuid.data(), uuid.size()) << ' '
              << hex_of(made->memory.data(), made->memory.size());
    if (what == "slow") std::cout << ' ' << hex_of(made->event.data(), made->event.size());
    std::cout << std::endl;
  }
  return 0;
}

GpuProducer::GpuProducer() : process_({.argv = {"/proc/self/exe", "--gpu-producer"}, .talk = true}) {}

std::optional<DeviceSource> GpuProducer::make(int device, std::uint64_t bytes, std::uint64_t seed) {
  return ask("make " + std::to_string(device) + ' ' + std::to_string(bytes) + ' ' + std::to_string(seed));
}

std::optional<DeviceSource> GpuProducer::slow(int device, std::uint64_t bytes, std::uint64_t rounds,
                                              unsigned value) {
  return ask("slow " + std::to_string(device) + ' ' + std::to_string(bytes) + ' ' + std::to_string(rounds) +
             ' ' + std::to_string(value));
}

std::optional<DeviceSource> GpuProducer::ask(const std::string& line) {
  if (!process_.write_line(line)) return std::nullopt;
  const auto answer = process_.read_line(kPatience);
  if (!answer) return std::nullopt;
  std::istringstream words(*answer);
  std::string ok;
  std::string uuid;
  std::string memory;
  std::string event;
  words >> ok >> uuid >> memory >> event;
  if (ok != "ok") {
    std::cerr << line << ": " << *answer << '\n';
    return std::nullopt;
  }
  DeviceSource source;
  if (!from_hex(uuid, source.device.data(), source.device.size())) return std::nullopt;
  if (!from_hex(memory, source.memory.data(), source.memory.size())) return std::nullopt;
  source.has_event = from_hex(event, source.event.data(), source.event.size());
  return source;
}

}  // namespace sidecar
