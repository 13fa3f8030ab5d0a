#include <algorithm>
#include <cstdio>
#include <deque>
#include <nlohmann/json.hpp>

#include "client/npy.h"
#include "client/sidecarctl/commands.h"
#include "client/sidecarctl/files.h"
#include "client/sidecarctl/progress.h"

namespace sidecar::ctl {
namespace {

constexpr std::size_t kAheadMax = 4;       // chunks asked for at once
constexpr std::size_t kHeaderBytes = 512;  // room for any shape, known only at the end

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

// Puts the chunks of a datum together again: objects end to end, tensors along their first dimension.
class Assembly {
 public:
  explicit Assembly(Output output) : output_(std::move(output)) {}

  // The file's old contents go when the first chunk is here, not for a datum that never comes.
  Expected<void> add(const View& view);
  // Writes what could not be written before the shape was known.
  Expected<void> finish();
  // On a terminal there is no point in the elements of a tensor.
  [[nodiscard]] bool only_described() const { return tensor_ && output_.terminal(); }
  // The views given to it are needed until finish().
  [[nodiscard]] bool keeps_views() const { return tensor_ && !output_.seekable() && !output_.terminal(); }
  [[nodiscard]] const npy::Header& header() const { return header_; }
  [[nodiscard]] bool is_tensor() const { return tensor_; }

 private:
  Expected<void> start(const View& view);
  Expected<void> extend(const View& view);

  Output output_;
  bool started_ = false;
  bool tensor_ = false;
  npy::Header header_;
  std::vector<View> kept_;  // a pipe: their bytes can only follow the finished header
};

Expected<void> Assembly::start(const View& view) {
  started_ = true;
  if (const Expected<void> cleared = output_.clear(); !cleared) return cleared;
  tensor_ = !view.is_object();
  if (!tensor_) return {};
  header_ = {view.dtype(), view.shape()};
  if (!output_.seekable()) return {};
  const std::string room(kHeaderBytes, ' ');
  return output_.write(bytes_of(room));
}

Expected<void> Assembly::extend(const View& view) {
  const bool alike =
      view.is_object() != tensor_ &&
      (!tensor_ || (view.dtype() == header_.dtype && view.shape().size() == header_.shape.size() &&
                    !view.shape().empty() &&
                    std::equal(view.shape().begin() + 1, view.shape().end(), header_.shape.begin() + 1)));
  if (!alike) {
    return Failure{Errc::kInvalidArgument, kNoRank,
                   "chunk " + std::to_string(view.chunk()) +
                       " does not fit to those before it: another kind, dtype or shape"};
  }
  if (tensor_) header_.shape[0] += view.shape()[0];
  return {};
}

Expected<void> Assembly::add(const View& view) {
  Expected<void> fits = started_ ? extend(view) : start(view);
  if (!fits) return fits;
  if (only_described()) return {};
  if (keeps_views()) {
    kept_.push_back(view);
    return {};
  }
  return output_.write(view.bytes());
}

Expected<void> Assembly::finish() {
  if (!started_) return output_.clear();
  if (!tensor_ || only_described()) return {};
  if (output_.seekable()) {
    return output_.rewrite_start(bytes_of(npy::format(header_, kHeaderBytes)));
  }
  if (const Expected<void> put = output_.write(bytes_of(npy::format(header_))); !put) return put;
  for (const View& view : kept_) {
    if (const Expected<void> put = output_.write(view.bytes()); !put) return put;
  }
  kept_.clear();
  return {};
}

// Chunks in order until the end. With `done` each is marked done as soon as its bytes are written, so that a
// datum larger than the sidecar's memory gets through.
class Receiver {
 public:
  Receiver(Client& client, std::string id, Assembly& assembly, bool done, Progress& progress)
      : client_(client), id_(std::move(id)), assembly_(assembly), done_(done), progress_(progress) {}

  // How many chunks there were.
  Expected<ChunkIndex> run();
  // The chunks whose bytes could only be written at the end.
  Expected<void> mark_rest_done(ChunkIndex chunks);

 private:
  Expected<void> mark_done(ChunkIndex chunk);
  Expected<void> settle_done(std::size_t count);

  Client& client_;
  const std::string id_;
  Assembly& assembly_;
  const bool done_;
  Progress& progress_;
  std::deque<Future<View>> ahead_;
  std::deque<Future<void>> marking_;
  ChunkIndex marked_ = 0;
};

Expected<ChunkIndex> Receiver::run() {
  ChunkIndex asked = 0;
  ChunkIndex end = ~ChunkIndex{0};
  for (ChunkIndex chunk = 0;; ++chunk) {
    // The first one is waited for alone: it tells how many there are.
    const std::size_t wanted = chunk == 0 ? 1 : kAheadMax;
    while (asked < end && ahead_.size() < wanted) ahead_.push_back(client_.recv_async(id_, asked++));
    if (ahead_.empty()) return chunk;
    const Expected<View> view = ahead_.front().get();
    ahead_.pop_front();
    if (!view) {
      for (Future<View>& rest : ahead_) rest.cancel();
      return view.error();
    }
    if (view->end_of_stream()) return chunk;
    if (view->num_chunks() != 0) end = view->num_chunks();
    if (const Expected<void> added = assembly_.add(*view); !added) return added.error();
    progress_.moved(view->size_bytes());
    if (done_ && !assembly_.keeps_views()) {
      if (const Expected<void> marked = mark_done(chunk); !marked) return marked.error();
    }
  }
}

Expected<void> Receiver::settle_done(std::size_t count) {
  for (; marking_.size() > count; marking_.pop_front()) {
    if (const Expected<void> result = marking_.front().get(); !result) return result;
  }
  return {};
}

Expected<void> Receiver::mark_done(ChunkIndex chunk) {
  marking_.push_back(client_.mark_done_async(id_, chunk));
  marked_ = chunk + 1;
  return settle_done(kAheadMax);
}

Expected<void> Receiver::mark_rest_done(ChunkIndex chunks) {
  while (done_ && marked_ < chunks) {
    if (const Expected<void> marked = mark_done(marked_); !marked) return marked;
  }
  return settle_done(0);
}

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

int run_recv(const Settings& settings, const RecvArguments& arguments) {
  const std::string what = "recv " + shown(arguments.id);
  Expected<Client> client = connect(settings);
  if (!client) return failed(what, client.error());
  Expected<Output> output = Output::open(arguments.output);
  if (!output) return failed(what, output.error());
  const bool to_stdout = arguments.output.empty() || arguments.output == "-";
  Progress progress("receiving " + shown(arguments.id), std::nullopt);
  Assembly assembly(std::move(*output));
  Receiver receiver(*client, arguments.id, assembly, arguments.done, progress);
  const Expected<ChunkIndex> chunks = receiver.run();
  progress.clear();
  if (!chunks) return failed(what, chunks.error());
  if (const Expected<void> finished = assembly.finish(); !finished) return failed(what, finished.error());
  if (const Expected<void> done = receiver.mark_rest_done(*chunks); !done) return failed(what, done.error());
  nlohmann::ordered_json json = {{"id", shown(arguments.id)},
                                 {"chunks", *chunks},
                                 {"bytes", progress.bytes()},
                                 {"seconds", progress.seconds()},
                                 {"kind", assembly.is_tensor() ? "tensor" : "object"}};
  std::string kind;
  if (assembly.is_tensor()) {
    json["dtype"] = dtype_name(assembly.header().dtype);
    json["shape"] = assembly.header().shape;
    kind =
        std::string(", ") + dtype_name(assembly.header().dtype) + " " + shape_text(assembly.header().shape);
  }
  // The data have standard output to themselves.
  std::FILE* const out = to_stdout ? stderr : stdout;
  if (settings.json) {
    std::fprintf(out, "%s\n", json.dump().c_str());
  } else if (!to_stdout || assembly.only_described()) {
    std::fprintf(out, "%s: %u chunks, %s in %.3f s%s%s\n", shown(arguments.id).c_str(), *chunks,
                 bytes_text(static_cast<double>(progress.bytes())).c_str(), progress.seconds(), kind.c_str(),
                 assembly.only_described() ? "; use -o FILE to have it" : "");
  }
  return kDone;
}

}  // namespace sidecar::ctl
