// A producer hands a tensor, cut into chunks, and a small object to consumers in other processes. Start one
// sidecar for each rank, then
//
//   sidecar-example-forward consume --rank 1 --id request-1
//   sidecar-example-forward produce --rank 0 --id request-1 --to 1
//
// in any order: a consumer waits for what it asks for. Every consumer prints the same sum that the producer
// prints.
#include <sidecar/client.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

namespace {

constexpr std::uint64_t kRows = 64;
constexpr std::uint64_t kHidden = 4096;
constexpr sidecar::ChunkIndex kChunks = 8;

int failed(const char* what, const sidecar::Failure& failure) {
  std::fprintf(stderr, "%s: %s\n", what, sidecar::to_string(failure).c_str());
  return EXIT_FAILURE;
}

int produce(sidecar::Client& client, const std::string& id, const sidecar::Groups& to) {
  double sum = 0;
  std::vector<sidecar::SendHandle> under_way;
  for (sidecar::ChunkIndex chunk = 0; chunk < kChunks; ++chunk) {
    // Memory inside the sidecar's arena: sending from there copies nothing.
    auto buffer = client.allocate({kRows, kHidden}, sidecar::Dtype::kF32);
    if (!buffer) return failed("allocate", buffer.error());
    const std::span<float> values = buffer->as<float>();
    std::iota(values.begin(), values.end(), static_cast<float>(chunk));
    sum = std::accumulate(values.begin(), values.end(), sum);
    under_way.push_back(client.send_async(std::move(*buffer), id, to, chunk, kChunks));
  }
  for (sidecar::SendHandle& send : under_way) {
    if (const auto delivered = send.delivered.get(); !delivered) return failed("send", delivered.error());
  }
  // Small objects travel in the message itself. The codec is between producer and consumer.
  const std::string note = "the sum is " + std::to_string(sum);
  const auto sent = client.send(sidecar::Object{note.data(), note.size(), 1}, id + "/note", to);
  if (!sent) return failed("send", sent.error());
  std::printf("%s\n", note.c_str());
  return EXIT_SUCCESS;
}

int consume(sidecar::Client& client, const std::string& id) {
  double sum = 0;
  for (sidecar::ChunkIndex chunk = 0;; ++chunk) {
    const auto view = client.recv(id, chunk);  // waits; on the same node these are the producer's own bytes
    if (!view) return failed("recv", view.error());
    if (view->end_of_stream()) break;
    const auto* const values = reinterpret_cast<const float*>(view->data());
    sum = std::accumulate(values, values + view->size_bytes() / sizeof(float), sum);
    // Frees the memory, for everybody: with several consumers, the last one's job.
    if (const auto done = client.mark_done(id, chunk); !done) return failed("mark_done", done.error());
  }
  const auto note = client.recv(id + "/note");
  if (!note) return failed("recv", note.error());
  const std::string text(reinterpret_cast<const char*>(note->data()), note->size_bytes());
  if (const auto done = client.mark_done(id + "/note"); !done) return failed("mark_done", done.error());
  std::printf("the sum is %f\n", sum);
  return text == "the sum is " + std::to_string(sum) ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  const bool producer = argc > 1 && std::strcmp(argv[1], "produce") == 0;
  const bool consumer = argc > 1 && std::strcmp(argv[1], "consume") == 0;
  auto options = sidecar::ClientOptions::from_env();
  if (!options) return failed("environment", options.error());
  std::string id;
  sidecar::Groups to;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--rank") options->rank = std::atoi(argv[i + 1]);
    if (name == "--address") options->address = argv[i + 1];
    if (name == "--id") id = argv[i + 1];
    if (name == "--to") to.push_back({std::atoi(argv[i + 1])});
  }
  if ((!producer && !consumer) || id.empty() || (producer && to.empty())) {
    std::fprintf(stderr,
                 "usage: %s produce --id ID --to RANK [--to RANK] | consume --id ID\n"
                 "  [--rank RANK] [--address HOST:PORT]\n",
                 argv[0]);
    return 2;
  }
  options->deadline = std::chrono::seconds(60);
  options->send_unit_bytes = options->recv_unit_bytes = kHidden * sizeof(float);
  auto client = sidecar::Client::connect(*options);
  if (!client) return failed("connect", client.error());
  return producer ? produce(*client, id, to) : consume(*client, id);
}
