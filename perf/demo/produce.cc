// The producer: libraries are written into memory of the sidecar (allocate) and leave without a copy; tensors
// are sent from this process's own memory, which the sidecar copies once.
#include <algorithm>
#include <cstring>
#include <deque>

#include "client/npy.h"
#include "perf/demo/input.h"
#include "perf/demo/report.h"
#include "perf/demo/roles.h"
#include "perf/demo/sha256.h"
#include "perf/demo/tensors.h"

namespace sidecar::demo {
namespace {

constexpr std::size_t kUnderWayMax = 64;

class Producer {
 public:
  Producer(Client client, Groups everyone) : client_(std::move(client)), everyone_(std::move(everyone)) {}

  Expected<void> send_text(const std::string& id, std::string text, const Groups& to);
  Expected<void> send_file(const Datum& datum);
  Expected<void> send_tensor(const Datum& datum, const Groups& to);
  // Until all was delivered.
  Expected<void> finish() { return wait_until(0); }
  [[nodiscard]] const Groups& everyone() const { return everyone_; }

 private:
  struct Sending {
    SendHandle handle;
    std::shared_ptr<const void> source;  // must stay untouched until it is captured
  };
  Expected<void> wait_until(std::size_t under_way_max);

  Client client_;
  const Groups everyone_;
  std::deque<Sending> under_way_;
};

Expected<void> Producer::wait_until(std::size_t under_way_max) {
  while (under_way_.size() > under_way_max) {
    Expected<void> delivered = under_way_.front().handle.delivered.get();
    under_way_.pop_front();
    if (!delivered) return delivered;
  }
  return {};
}

Expected<void> Producer::send_text(const std::string& id, std::string text, const Groups& to) {
  const auto kept = std::make_shared<const std::string>(std::move(text));
  under_way_.push_back({client_.send_async(Object{kept->data(), kept->size()}, id, to), kept});
  return wait_until(kUnderWayMax);
}

// As a stream: the consumers learn where it ends when it does.
Expected<void> Producer::send_file(const Datum& datum) {
  const auto file = MappedFile::open(datum.id);
  if (!file) return file.error();
  Sha256 hash;
  ChunkIndex chunk = 0;
  for (auto rest = (*file)->bytes(); !rest.empty(); ++chunk) {
    const auto part = rest.first(std::min<std::size_t>(rest.size(), kChunkBytes));
    rest = rest.subspan(part.size());
    auto buffer = client_.allocate({part.size()}, Dtype::kU8);  // waits while the arena is full
    if (!buffer) return buffer.error();
    std::memcpy(buffer->data(), part.data(), part.size());
    under_way_.push_back(
        {client_.send_async(std::move(*buffer), datum.id, everyone_, chunk, 0, {.stream = true}), {}});
    hash.add(part);
    if (auto fine = wait_until(kUnderWayMax); !fine) return fine;
  }
  if (auto closed = client_.close_stream(datum.id, chunk, everyone_); !closed) return closed;
  return send_text(hash_id(datum), hash.text(), everyone_);
}

// In chunks of whole rows, each a tensor of its own.
Expected<void> Producer::send_tensor(const Datum& datum, const Groups& to) {
  const auto file = MappedFile::open(datum.id);
  if (!file) return file.error();
  const auto bytes = (*file)->bytes();
  const auto offset = npy::data_offset(bytes.first(std::min(bytes.size(), npy::kPreambleBytes)));
  if (!offset) return offset.error();
  const auto header = npy::parse(bytes.first(std::min(bytes.size(), *offset)));
  if (!header) return header.error();

  const std::uint64_t rows = header->shape.at(0);
  const std::uint64_t row_bytes = (bytes.size() - *offset) / rows;
  const std::uint64_t rows_each = std::max<std::uint64_t>(1, kChunkBytes / row_bytes);
  const auto chunks = static_cast<ChunkIndex>((rows + rows_each - 1) / rows_each);
  for (ChunkIndex chunk = 0; chunk < chunks; ++chunk) {
    const std::uint64_t first = chunk * rows_each;
    Tensor part{bytes.data() + *offset + first * row_bytes, header->dtype, header->shape};
    part.shape[0] = std::min(rows_each, rows - first);
    under_way_.push_back({client_.send_async(part, datum.id, to, chunk, chunks), *file});
  }
  Sha256 hash;
  hash.add(bytes);
  return send_text(hash_id(datum), hash.text(), to);
}

Expected<std::vector<Datum>> choose_input(const std::string& folder) {
  const auto tensors = write_tensors(folder);
  if (!tensors) return tensors.error();
  std::vector<Datum> data;
  for (const std::string& path : *tensors) {
    auto datum = tensor_datum(path);
    if (!datum) return datum.error();
    data.push_back(std::move(*datum));
  }
  auto libraries = choose_libraries(kInputBytesMin);
  if (!libraries) return libraries.error();
  data.insert(data.end(), libraries->begin(), libraries->end());
  return data;
}

Expected<void> send_all(Producer& producer, const std::vector<Datum>& data) {
  Groups readers_too = producer.everyone();
  readers_too.push_back({kReadersRank});
  if (auto sent = producer.send_text(std::string(kManifestId), format_manifest(data), readers_too); !sent)
    return sent;
  for (const Datum& datum : data) {
    const bool first = &datum == &data.front();
    auto sent = datum.tensor ? producer.send_tensor(datum, first ? readers_too : producer.everyone())
                             : producer.send_file(datum);
    if (!sent) return Failure{sent.code(), sent.error().rank, datum.id + ": " + sent.error().message};
  }
  return producer.finish();
}

}  // namespace

int produce(const std::string& address, const std::string& folder) {
  const auto data = choose_input(folder);
  if (!data) return report_failure("choosing the input", data.error());
  std::uint64_t bytes = 0;
  for (const Datum& datum : *data) bytes += datum.file_bytes;
  const auto tensors =
      std::count_if(data->begin(), data->end(), [](const Datum& datum) { return datum.tensor; });
  report("input " + std::to_string(data->size() - static_cast<std::size_t>(tensors)) + ' ' +
         std::to_string(tensors) + ' ' + std::to_string(bytes));

  auto client = connect_to(kProducerRank, address);
  if (!client) return report_failure("connecting to rank 0", client.error());
  Producer producer(std::move(*client), {{kSameNodeRank}, {kOtherNodeRank}});
  if (const auto sent = send_all(producer, *data); !sent) return report_failure("sending", sent.error());
  return EXIT_SUCCESS;
}

}  // namespace sidecar::demo
