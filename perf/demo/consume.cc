// A consumer: gets the list of what there is, then every datum; looks where its bytes lie, hashes them and
// compares with the producer's hash, and marks them done.
#include <chrono>
#include <cstdio>
#include <deque>
#include <string_view>

#include "client/npy.h"
#include "perf/demo/backing.h"
#include "perf/demo/input.h"
#include "perf/demo/report.h"
#include "perf/demo/roles.h"
#include "perf/demo/sha256.h"

namespace sidecar::demo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr ChunkIndex kAskedAhead = 4;  // chunks asked for while one is hashed

Failure wrong(const std::string& text) { return {Errc::kInternal, kNoRank, text}; }

class Consumer {
 public:
  Consumer(const ConsumerOptions& options, Client client, std::uint64_t arena_inode)
      : options_(options), client_(std::move(client)), arena_inode_(arena_inode) {}

  Expected<void> run();

 private:
  Expected<std::string> take_text(const std::string& id);
  Expected<std::string> take_file(const Datum& datum);
  Expected<std::string> take_tensor(const Datum& datum);
  Expected<Backing> look(const View& view, const std::string& id) const;
  Expected<void> take(const Datum& datum);
  Expected<void> wait_for_other_reader(const std::vector<View>& views, const std::string& id);
  Expected<void> finish_done(std::size_t under_way_max);
  void count(const View& view);

  const ConsumerOptions options_;
  Client client_;
  const std::uint64_t arena_inode_;
  std::deque<Future<void>> done_;
  std::uint64_t data_ = 0;
  std::uint64_t chunks_ = 0;
  std::uint64_t bytes_ = 0;
};

std::string text_of(const View& view) {
  return {reinterpret_cast<const char*>(view.data()), static_cast<std::size_t>(view.size_bytes())};
}

// The proof: on the producer's node the bytes lie in the arena of the producer's sidecar, elsewhere in that
// of our own.
Expected<Backing> Consumer::look(const View& view, const std::string& id) const {
  const auto backing = backing_of(view.bytes());
  const std::string chunk = id + ", chunk " + std::to_string(view.chunk());
  if (!backing) return wrong(chunk + " is not in shared memory");
  if (backing->inode != arena_inode_) {
    return wrong(chunk + " lies in the file with inode " + std::to_string(backing->inode) + ", not in " +
                 options_.arena + " (inode " + std::to_string(arena_inode_) + ")");
  }
  return *backing;
}

void Consumer::count(const View& view) {
  ++chunks_;
  bytes_ += view.size_bytes();
  report("progress " + std::to_string(bytes_));
}

Expected<void> Consumer::finish_done(std::size_t under_way_max) {
  while (done_.size() > under_way_max) {
    auto done = done_.front().get();
    done_.pop_front();
    if (!done) return done;
  }
  return {};
}

Expected<std::string> Consumer::take_text(const std::string& id) {
  const auto view = client_.recv(id);
  if (!view) return view.error();
  return text_of(*view);
}

// Returns the hash of what came.
Expected<std::string> Consumer::take_file(const Datum& datum) {
  Sha256 hash;
  std::deque<Future<View>> asked;
  ChunkIndex next = 0;
  for (bool ended = false; !ended || !asked.empty();) {
    while (!ended && asked.size() < kAskedAhead) asked.push_back(client_.recv_async(datum.id, next++));
    const auto view = asked.front().get();
    asked.pop_front();
    if (!view) return view.error();
    ended = ended || view->end_of_stream();
    if (ended) continue;  // those asked for beyond the end say the same
    if (const auto backing = look(*view, datum.id); !backing) return backing.error();
    hash.add(view->bytes());
    count(*view);
    done_.push_back(client_.mark_done_async(datum.id, view->chunk()));
    if (const auto fine = finish_done(kAskedAhead); !fine) return fine.error();
  }
  return hash.text();
}

// Returns the hash of the .npy file as it must have been: dtype and shape came with the chunks.
Expected<std::string> Consumer::take_tensor(const Datum& datum) {
  std::vector<View> views;
  npy::Header header;
  do {
    auto view = client_.recv(datum.id, static_cast<ChunkIndex>(views.size()));
    if (!view) return view.error();
    if (view->end_of_stream() || view->is_object() || view->shape().empty())
      return wrong(datum.id + " is no tensor");
    if (const auto backing = look(*view, datum.id); !backing) return backing.error();
    if (views.empty()) {
      header = {view->dtype(), view->shape()};
    } else {
      header.shape[0] += view->shape()[0];
    }
    views.push_back(std::move(*view));
  } while (views.size() < views.front().num_chunks());
  if (options_.reader) {
    if (const auto both = wait_for_other_reader(views, datum.id); !both) return both.error();
  }
  Sha256 hash;
  hash.add(npy::format(header));
  for (const View& view : views) {
    hash.add(view.bytes());
    count(view);
  }
  for (const View& view : views) done_.push_back(client_.mark_done_async(datum.id, view.chunk()));
  return hash.text();
}

// Reports where the views lie, and looks at their bytes only when the other reader holds the same ones. What
// one of the two marks done is gone for the other, unless that holds a view already: so the hash is fetched
// before, too.
Expected<void> Consumer::wait_for_other_reader(const std::vector<View>& views, const std::string& id) {
  std::string offsets;
  for (const View& view : views) {
    const auto backing = look(view, id);
    if (!backing) return backing.error();
    offsets += (offsets.empty() ? "" : ",") + std::to_string(backing->offset);
  }
  report("holds " + std::to_string(arena_inode_) + ' ' + offsets);
  if (!wait_for_director()) return wrong("the director is gone");
  return {};
}

Expected<void> Consumer::take(const Datum& datum) {
  Expected<std::string> expected = std::string();
  if (options_.reader) expected = take_text(hash_id(datum));
  const auto hash = datum.tensor ? take_tensor(datum) : take_file(datum);
  if (!hash) return hash.error();
  if (!options_.reader) expected = take_text(hash_id(datum));
  if (!expected) return expected.error();
  if (*hash != *expected)
    return wrong(datum.id + " has SHA-256 " + *hash + " here, and " + *expected + " at the producer");
  done_.push_back(client_.mark_done_async(hash_id(datum)));
  ++data_;
  return finish_done(kAskedAhead);
}

Expected<void> Consumer::run() {
  const auto manifest = take_text(std::string(kManifestId));
  if (!manifest) return manifest.error();
  auto data = parse_manifest(*manifest);
  if (!data) return data.error();
  if (options_.reader) data->resize(1);
  const auto start = Clock::now();
  for (const Datum& datum : *data) {
    if (auto fine = take(datum); !fine) return fine;
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  done_.push_back(client_.mark_done_async(kManifestId));
  if (auto fine = finish_done(0); !fine) return fine;
  report("result " + std::to_string(data_) + ' ' + std::to_string(chunks_) + ' ' + std::to_string(bytes_) +
         ' ' + std::to_string(seconds));
  return {};
}

}  // namespace

int consume(const ConsumerOptions& options) {
  const auto inode = inode_of(options.arena);
  if (!inode) return report_failure("starting", wrong("there is no " + options.arena));
  auto client = connect_to(options.rank, options.address);
  if (!client) return report_failure("connecting to rank " + std::to_string(options.rank), client.error());
  const auto received = Consumer(options, std::move(*client), *inode).run();
  return received ? EXIT_SUCCESS
                  : report_failure("receiving at rank " + std::to_string(options.rank), received.error());
}

}  // namespace sidecar::demo
