#include <charconv>
#include <cstdio>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>

#include "client/npy.h"
#include "client/sidecarctl/commands.h"
#include "client/sidecarctl/files.h"
#include "client/sidecarctl/progress.h"
#include "core/types.h"

namespace sidecar::ctl {
namespace {

constexpr std::size_t kUnderWayMax = 4;  // chunks on their way at once

std::optional<Group> parse_group(const std::string& text) {
  Group group;
  for (const char* at = text.data();;) {
    Rank rank = kNoRank;
    const auto [end, error] = std::from_chars(at, text.data() + text.size(), rank);
    if (error != std::errc() || rank < 0) return std::nullopt;
    group.push_back(rank);
    if (end == text.data() + text.size()) return group;
    if (*end != ',') return std::nullopt;
    at = end + 1;
  }
}

Failure invalid(std::string message) { return {Errc::kInvalidArgument, kNoRank, std::move(message)}; }

// Not initialised: pages that a short input does not reach are never touched.
struct Bytes {
  std::unique_ptr<std::byte[]> data{};
  std::size_t size = 0;
};

// A file cut into chunks: a tensor along its first dimension, anything else into runs of bytes.
class Cutter {
 public:
  static Expected<Cutter> open(const SendArguments& arguments, std::uint64_t chunk_bytes);

  [[nodiscard]] bool is_tensor() const { return tensor_; }
  // Of data; nothing when only the end of the input will tell.
  [[nodiscard]] std::optional<std::uint64_t> total_bytes() const { return total_; }
  [[nodiscard]] std::optional<ChunkIndex> num_chunks() const;
  // The next chunk's shape; a tensor without elements is one chunk.
  [[nodiscard]] bool more() const { return left_rows_ > 0 || (chunks_cut_ == 0 && tensor_); }
  std::vector<std::uint64_t> next_shape();
  [[nodiscard]] Dtype dtype() const { return header_.dtype; }
  Expected<void> fill(std::span<std::byte> into);

  // Not a tensor: the next bytes, none at the end.
  Expected<Bytes> next_bytes();

 private:
  explicit Cutter(Input input) : input_(std::move(input)) {}
  Expected<void> read_header(std::uint64_t chunk_bytes);

  Input input_;
  std::vector<std::byte> start_;  // read while looking for a header, and data all the same
  std::size_t start_used_ = 0;
  bool tensor_ = false;
  npy::Header header_;
  std::uint64_t rows_ = 1;  // a scalar is one row
  std::uint64_t row_bytes_ = 0;
  std::uint64_t rows_per_chunk_ = 1;
  std::uint64_t left_rows_ = 0;
  std::uint64_t chunks_cut_ = 0;
  std::uint64_t chunk_bytes_ = 0;
  std::optional<std::uint64_t> total_;
};

Expected<Cutter> Cutter::open(const SendArguments& arguments, std::uint64_t chunk_bytes) {
  Expected<Input> input = Input::open(arguments.file);
  if (!input) return input.error();
  Cutter cutter(std::move(*input));
  cutter.chunk_bytes_ = chunk_bytes;
  cutter.start_.resize(npy::kPreambleBytes);
  const Expected<std::size_t> got = cutter.input_.read(cutter.start_);
  if (!got) return got.error();
  cutter.start_.resize(*got);
  if (!npy::is_npy(cutter.start_)) {
    cutter.total_ = cutter.input_.size();
    // Those of /proc and their like do not tell how long they are.
    if (cutter.total_ && *got > *cutter.total_) cutter.total_.reset();
    return cutter;
  }
  if (const Expected<void> read = cutter.read_header(chunk_bytes); !read) return read.error();
  return cutter;
}

Expected<void> Cutter::read_header(std::uint64_t chunk_bytes) {
  const Expected<std::size_t> offset = npy::data_offset(start_);
  if (!offset) return offset.error();
  const std::size_t before = start_.size();
  if (*offset < before) return invalid("npy: cut off in its header");
  start_.resize(*offset);
  const Expected<std::size_t> got = input_.read(std::span(start_).subspan(before));
  if (!got) return got.error();
  if (*got != *offset - before) return invalid("npy: cut off in its header");
  Expected<npy::Header> header = npy::parse(start_);
  if (!header) return header.error();
  header_ = std::move(*header);
  start_.clear();
  tensor_ = true;
  std::uint64_t bytes = dtype_bytes(header_.dtype);
  for (const std::uint64_t extent : header_.shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return invalid("npy: its shape overflows");
  }
  if (input_.size() && *input_.size() != *offset + bytes) {
    return invalid("npy: the file has " + std::to_string(*input_.size()) + " bytes, its header speaks of " +
                   std::to_string(*offset + bytes));
  }
  total_ = bytes;
  if (!header_.shape.empty()) rows_ = header_.shape[0];
  row_bytes_ = rows_ == 0 ? 0 : bytes / rows_;
  if (row_bytes_ > 0) rows_per_chunk_ = std::max<std::uint64_t>(1, chunk_bytes / row_bytes_);
  left_rows_ = bytes == 0 ? 0 : rows_;
  return {};
}

std::optional<ChunkIndex> Cutter::num_chunks() const {
  if (!total_) return std::nullopt;
  const std::uint64_t units = tensor_ ? (*total_ == 0 ? 0 : rows_) : *total_;
  const std::uint64_t per_chunk = tensor_ ? rows_per_chunk_ : chunk_bytes_;
  const std::uint64_t count =
      std::max<std::uint64_t>(1, units / per_chunk + (units % per_chunk != 0 ? 1 : 0));
  if (count >= ~ChunkIndex{0}) return std::nullopt;
  return static_cast<ChunkIndex>(count);
}

std::vector<std::uint64_t> Cutter::next_shape() {
  std::vector<std::uint64_t> shape = header_.shape;
  const std::uint64_t rows = std::min(left_rows_, rows_per_chunk_);
  if (left_rows_ > 0 && !shape.empty()) shape[0] = rows;
  left_rows_ -= rows;
  ++chunks_cut_;
  return shape;
}

Expected<void> Cutter::fill(std::span<std::byte> into) {
  const Expected<std::size_t> got = input_.read(into);
  if (!got) return got.error();
  if (*got != into.size()) return invalid("npy: the file ends before its header says");
  return {};
}

Expected<Bytes> Cutter::next_bytes() {
  const std::uint64_t left = total_ ? *total_ - std::min(*total_, chunks_cut_ * chunk_bytes_) : chunk_bytes_;
  const std::size_t wanted = std::min(chunk_bytes_, left);
  Bytes bytes{std::make_unique_for_overwrite<std::byte[]>(wanted),
              std::min(wanted, start_.size() - start_used_)};
  std::copy_n(start_.data() + start_used_, bytes.size, bytes.data.get());
  start_used_ += bytes.size;
  const Expected<std::size_t> got = input_.read({bytes.data.get() + bytes.size, wanted - bytes.size});
  if (!got) return got.error();
  bytes.size += *got;
  if (total_ && bytes.size != wanted) return invalid("the file became shorter while it was read");
  ++chunks_cut_;
  return bytes;
}

// A few chunks on their way at once. Ends at the first that fails.
class Shipment {
 public:
  Shipment(Client& client, const SendArguments& arguments, Groups to, Progress& progress)
      : client_(client), id_(arguments.id), to_(std::move(to)), progress_(progress) {}

  // After a failure: what is still on its way ends before its memory goes.
  ~Shipment() {
    for (UnderWay& rest : under_way_) rest.delivered.cancel();
    for (UnderWay& rest : under_way_) rest.delivered.wait();
  }
  Shipment(const Shipment&) = delete;
  Shipment& operator=(const Shipment&) = delete;

  Expected<void> run(Cutter& cutter, std::optional<ChunkIndex> num_chunks);
  [[nodiscard]] ChunkIndex chunks() const { return chunk_; }

 private:
  struct UnderWay {
    Future<void> delivered;
    std::unique_ptr<std::byte[]> source;  // must stay until it is captured
    std::uint64_t bytes = 0;
  };

  Expected<void> send_tensor(Cutter& cutter);
  void send_bytes(Bytes bytes);
  Expected<void> settle_down_to(std::size_t count);

  Client& client_;
  const std::string id_;
  const Groups to_;
  Progress& progress_;
  SendOptions options_;
  ChunkIndex num_chunks_ = 0;
  ChunkIndex chunk_ = 0;
  std::deque<UnderWay> under_way_;
};

Expected<void> Shipment::settle_down_to(std::size_t count) {
  while (under_way_.size() > count) {
    UnderWay first = std::move(under_way_.front());
    under_way_.pop_front();
    if (const Expected<void> result = first.delivered.get(); !result) {
      return result;
    }
    progress_.moved(first.bytes);
  }
  return {};
}

Expected<void> Shipment::send_tensor(Cutter& cutter) {
  Expected<Buffer> buffer = client_.allocate(cutter.next_shape(), cutter.dtype());
  if (!buffer) return buffer.error();
  const std::uint64_t bytes = buffer->size_bytes();
  if (const Expected<void> read = cutter.fill({buffer->data(), bytes}); !read) return read;
  SendHandle handle = client_.send_async(std::move(*buffer), id_, to_, chunk_, num_chunks_, options_);
  under_way_.push_back({std::move(handle.delivered), {}, bytes});
  return {};
}

void Shipment::send_bytes(Bytes bytes) {
  const Object object{bytes.data.get(), bytes.size};
  Future<void> delivered = client_.send_async(object, id_, to_, chunk_, num_chunks_, options_).delivered;
  under_way_.push_back({std::move(delivered), std::move(bytes.data), bytes.size});
}

Expected<void> Shipment::run(Cutter& cutter, std::optional<ChunkIndex> num_chunks) {
  options_.stream = !num_chunks;
  num_chunks_ = num_chunks.value_or(0);
  for (;; ++chunk_) {
    if (num_chunks && chunk_ == *num_chunks) break;
    if (cutter.is_tensor()) {
      if (!cutter.more()) break;
      if (const Expected<void> sent = send_tensor(cutter); !sent) return sent;
    } else {
      Expected<Bytes> bytes = cutter.next_bytes();
      if (!bytes) return bytes.error();
      if (bytes->size == 0 && !num_chunks) break;
      send_bytes(std::move(*bytes));
    }
    if (const Expected<void> settled = settle_down_to(kUnderWayMax - 1); !settled) return settled;
  }
  if (const Expected<void> settled = settle_down_to(0); !settled) return settled;
  if (options_.stream) return client_.close_stream(id_, chunk_, to_);
  return {};
}

}  // namespace

int run_send(const Settings& settings, const SendArguments& arguments) {
  const std::string what = "send " + shown(arguments.id);
  const auto usage = [&](const std::string& why) { return failed(what, invalid(why)), kUsage; };
  const std::optional<std::uint64_t> chunk_bytes = parse_bytes(arguments.chunk_bytes);
  if (!chunk_bytes) return usage("--chunk-bytes: not a size such as 4096, 64K or 2M");
  Groups to;
  for (const std::string& text : arguments.to) {
    const std::optional<Group> group = parse_group(text);
    if (!group) return usage("--to " + text + ": not ranks with commas (2,3)");
    to.push_back(*group);
  }
  Expected<Cutter> cutter = Cutter::open(arguments, *chunk_bytes);
  if (!cutter) return failed(what, cutter.error());
  std::optional<ChunkIndex> num_chunks;
  if (!arguments.stream) num_chunks = cutter->num_chunks();
  if (!num_chunks && !arguments.stream && cutter->total_bytes()) {
    return usage("--chunk-bytes: too small for a file of this size");
  }
  Expected<Client> client = connect(settings);
  if (!client) return failed(what, client.error());

  Progress progress("sending " + shown(arguments.id), cutter->total_bytes());
  Shipment shipment(*client, arguments, to, progress);
  const Expected<void> sent = shipment.run(*cutter, num_chunks);
  progress.clear();
  if (!sent) return failed(what, sent.error());
  const double seconds = progress.seconds();
  if (settings.json) {
    const nlohmann::ordered_json json = {{"id", shown(arguments.id)},
                                         {"chunks", shipment.chunks()},
                                         {"bytes", progress.bytes()},
                                         {"seconds", seconds}};
    std::puts(json.dump().c_str());
  } else {
    std::printf("%s: %u chunks, %s in %.3f s\n", shown(arguments.id).c_str(), shipment.chunks(),
                bytes_text(static_cast<double>(progress.bytes())).c_str(), seconds);
  }
  return kDone;
}

}  // namespace sidecar::ctl
