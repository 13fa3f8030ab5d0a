// An executor for the end-to-end tests, in a process of its own so that it can be killed. Reads commands, one
// a line, and answers each with one line: "ok ...", "end", or "error <code> <text>".
//
//   connect RANK ADDRESS [value] [group=0,1] [concurrent]   value: never map arenas, have bytes sent
//   send ID GROUPS CHUNK COUNT BYTES HOW    GROUPS: 1/2,3  HOW: private, arena, object, stream; waits for
//   delivery recv ID CHUNK MS                        -> ok <bytes> <good|bad> <inode of the memory, 0:
//   private> hold ID CHUNK MS                        the same, and keeps the view until `drop` check -> ok
//   <number of held views whose bytes are as they should be> drop done ID CHUNK close ID COUNT GROUPS
//   allocate BYTES                     memory that is kept unsent, until `drop`
#include <charconv>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <vector>

#include "sidecar/client.h"
#include "tests/e2e/contents.h"

namespace sidecar::e2e {
namespace {

struct Held {
  View view;
  std::string id;
  std::uint32_t chunk;
};

std::string error_line(const Failure& failure) { return "error " + to_string(failure); }

Groups parse_groups(const std::string& text) {
  Groups groups;
  std::istringstream each(text);
  std::string group;
  while (std::getline(each, group, '/')) {
    groups.emplace_back();
    std::istringstream ranks(group);
    std::string rank;
    while (std::getline(ranks, rank, ',')) groups.back().push_back(std::stoi(rank));
  }
  return groups;
}

// The inode of the file that is mapped there; 0 for private memory.
unsigned long inode_behind(const void* address) {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    unsigned long begin = 0, end = 0, inode = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %*s %*s %lu", &begin, &end, &inode) != 3) continue;
    const auto at = reinterpret_cast<unsigned long>(address);
    if (at >= begin && at < end) return inode;
  }
  return 0;
}

class Commands {
 public:
  std::string run(const std::string& line) {
    std::istringstream words(line);
    std::string verb, id;
    words >> verb;
    if (verb == "connect") return connect(words);
    if (verb == "check") return check();
    if (verb == "drop") return held_.clear(), buffers_.clear(), "ok";
    if (verb == "allocate") return allocate(words);
    words >> id;
    if (verb == "send") return send(id, words);
    if (verb == "recv" || verb == "hold") return recv(id, words, verb == "hold");
    std::uint32_t number = 0;
    words >> number;
    if (verb == "done") return outcome(client_.mark_done(id, number));
    std::string groups;
    words >> groups;
    if (verb == "close") return outcome(client_.close_stream(id, number, parse_groups(groups)));
    return "error unknown command";
  }

 private:
  static std::string outcome(const Expected<void>& result) {
    return result ? "ok" : error_line(result.error());
  }

  std::string connect(std::istringstream& words) {
    ClientOptions options;
    std::string how;
    words >> options.rank >> options.address;
    while (words >> how) {
      if (how == "value") options.map_arenas = false;
      if (how == "concurrent") options.concurrent_copy = true;
      if (how.starts_with("group=")) options.group = parse_groups(how.substr(6)).at(0);
    }
    auto client = Client::connect(options);
    if (!client) return error_line(client.error());
    client_ = std::move(*client);
    return "ok";
  }

  std::string send(const std::string& id, std::istringstream& words) {
    std::string groups, how;
    std::uint32_t chunk = 0, count = 0;
    std::size_t size = 0;
    words >> groups >> chunk >> count >> size >> how;
    const Groups to = parse_groups(groups);
    const SendOptions options{.stream = how == "stream"};
    if (how == "arena") {
      auto buffer = client_.allocate({size}, Dtype::kU8);
      if (!buffer) return error_line(buffer.error());
      fill({buffer->data(), size}, id, chunk);
      return outcome(client_.send(std::move(*buffer), id, to, chunk, count, options));
    }
    const std::vector<std::byte> bytes = contents(id, chunk, size);
    if (how == "object")
      return outcome(client_.send(Object{bytes.data(), size, 7}, id, to, chunk, count, options));
    return outcome(client_.send(Tensor{bytes.data(), Dtype::kU8, {size}}, id, to, chunk, count, options));
  }

  std::string recv(const std::string& id, std::istringstream& words, bool hold) {
    std::uint32_t chunk = 0;
    long ms = 0;
    words >> chunk >> ms;
    auto view = client_.recv(id, chunk, std::chrono::milliseconds(ms));
    if (!view) return error_line(view.error());
    if (view->end_of_stream()) return "end";
    const bool good = matches(view->bytes(), id, chunk);
    std::ostringstream answer;
    answer << "ok " << view->size_bytes() << (good ? " good " : " bad ") << inode_behind(view->data());
    if (hold) held_.push_back({std::move(*view), id, chunk});
    return answer.str();
  }

  std::string allocate(std::istringstream& words) {
    std::size_t size = 0;
    words >> size;
    auto buffer = client_.allocate({size}, Dtype::kU8);
    if (!buffer) return error_line(buffer.error());
    buffers_.push_back(std::move(*buffer));
    return "ok";
  }

  std::string check() {
    std::size_t good = 0;
    for (const Held& held : held_) good += matches(held.view.bytes(), held.id, held.chunk) ? 1 : 0;
    return "ok " + std::to_string(good);
  }

  Client client_;
  std::vector<Held> held_;
  std::vector<Buffer> buffers_;
};

}  // namespace
}  // namespace sidecar::e2e

int main() {
  sidecar::e2e::Commands commands;
  std::string line;
  while (std::getline(std::cin, line)) std::cout << commands.run(line) << std::endl;
  return 0;
}
