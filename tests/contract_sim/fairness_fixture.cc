#include "tests/contract_sim/fairness_fixture.h"

#include <algorithm>
#include <sstream>

namespace sidecar::sim {

void ManyToOne::start(std::uint32_t parked_max, const std::vector<SenderPlan>& plans) {
  add({.rank = 0, .node = "receiver", .arena_bytes = kArena, .adjust = [&](EngineOptions& options) {
         options.parked_max = parked_max;
       }});
  consumer_ = &client(0);
  for (const SenderPlan& plan : plans) {
    const Rank rank = static_cast<Rank>(senders_.size()) + 1;
    SimSidecar& at = add({.rank = rank,
                          .node = "sender" + std::to_string(rank),
                          .arena_bytes = 4 * kMiB,
                          .adjust = [](EngineOptions& options) { options.eager_max = 4 * kKiB; }});
    world_.network().slow_bulk(at, sidecar(0), plan.late);
    senders_.emplace_back().plan = plan;
    senders_.back().client = &client(rank);
  }
}

std::string ManyToOne::name(std::size_t sender, std::uint64_t number) const {
  return std::to_string(sender) + "/" + std::to_string(number);
}

void ManyToOne::feed() {
  for (std::size_t i = 0; i < senders_.size(); ++i) {
    Sender& sender = senders_[i];
    std::erase_if(sender.open, [&](RequestId request) {
      if (!sender.client->over(request)) return false;
      EXPECT_TRUE(sender.client->outcome(request).ok()) << sender.client->outcome(request).text();
      return true;
    });
    const std::size_t wanted = feeding_ && taken_.size() >= sender.plan.after ? sender.plan.outstanding : 0;
    while (sender.open.size() < wanted) {
      sender.open.insert(sender.client->send({.id = name(i, sender.sent++),
                                              .bytes = sender.plan.bytes,
                                              .to = each({0}),
                                              .kind = sender.plan.kind}));
    }
  }
}

void ManyToOne::take_first() {
  for (const ChunkInfo& chunk : sidecar(0).engine().chunks(0, SIZE_MAX)) {
    if (chunk.state != "ready" || !seen_.insert(chunk.id).second) continue;
    consumer_->recv(chunk.id);
    consumer_->mark_done(chunk.id);
    const std::size_t slash = chunk.id.find('/');
    taken_.push_back(
        {std::stoul(chunk.id.substr(0, slash)), std::stoul(chunk.id.substr(slash + 1)), chunk.bytes});
    return;
  }
}

void ManyToOne::ask(std::size_t sender) {
  asked_[consumer_->recv(name(sender, senders_[sender].awaited++))] = sender;
}

// The first that has come of those it waits for.
void ManyToOne::take_awaited() {
  const auto first = std::ranges::min_element(asked_, {}, [&](const auto& asked) {
    const Outcome& outcome = consumer_->outcome(asked.first);
    return outcome.is_final ? outcome.at : kNever;
  });
  if (first == asked_.end() || !consumer_->over(first->first)) return;
  EXPECT_TRUE(consumer_->outcome(first->first).ok());
  const std::size_t sender = first->second;
  const std::uint64_t number = senders_[sender].awaited - 1;
  consumer_->mark_done(name(sender, number));
  taken_.push_back({sender, number, senders_[sender].plan.bytes});
  asked_.erase(first);
  if (feeding_ || senders_[sender].awaited < senders_[sender].sent) ask(sender);
}

void ManyToOne::tick() {
  const std::size_t before = taken_.size();
  (this->*take_)();
  if (feeding_ && taken_.size() == before) ++idle_;
  world_.at(pace_, [this] { tick(); });
}

void ManyToOne::run(std::size_t chunks, void (ManyToOne::*take)()) {
  take_ = take;
  if (!std::exchange(ticking_, true)) tick();
  const std::size_t until = taken_.size() + chunks;
  const auto enough = [&] {
    feed();
    return taken_.size() >= until;
  };
  ASSERT_TRUE(world_.run_until(enough, static_cast<TimeNs>(4 * chunks) * pace_ + kSecond))
      << taken_.size() << " chunks, then nothing";
}

void ManyToOne::serve(std::size_t chunks) { run(chunks, &ManyToOne::take_first); }

void ManyToOne::serve_awaited(std::size_t chunks) {
  for (std::size_t i = 0; i < senders_.size(); ++i) ask(i);
  run(chunks, &ManyToOne::take_awaited);
}

void ManyToOne::drain() {
  feeding_ = false;
  const auto idle = [&] {
    feed();
    return std::ranges::all_of(senders_, [](const Sender& sender) { return sender.open.empty(); });
  };
  EXPECT_TRUE(world_.run_until(idle, 10 * kSecond)) << "sends that are never delivered";
}

std::vector<std::uint64_t> ManyToOne::counts(std::size_t from, std::size_t to, bool bytes) const {
  std::vector<std::uint64_t> all(senders_.size());
  for (std::size_t i = from; i < to; ++i) all[taken_[i].sender] += bytes ? taken_[i].bytes : 1;
  return all;
}

std::uint64_t ManyToOne::most_overtaken() const {
  std::uint64_t most = 0;
  for (std::size_t sender = 0; sender < senders_.size(); ++sender) {
    std::set<std::uint64_t> missing;  // numbers below the highest that was taken
    std::map<std::uint64_t, std::uint64_t> overtaken;
    std::uint64_t next = 0;
    for (const Taken& taken : taken_) {
      if (taken.sender != sender) continue;
      for (; next <= taken.number; ++next) missing.insert(next);
      missing.erase(taken.number);
      for (auto it = missing.begin(); it != missing.end() && *it < taken.number; ++it)
        most = std::max(most, ++overtaken[*it]);
    }
  }
  return most;
}

void ManyToOne::expect_fair(bool bytes, std::size_t only) const {
  const auto check = [&](std::size_t from, std::size_t to) {
    std::vector<std::uint64_t> all = counts(from, to, bytes);
    all.resize(std::min(only, all.size()));
    const auto [slowest, fastest] = std::ranges::minmax(all);
    EXPECT_GE(2 * slowest, fastest) << "chunks " << from << " to " << to << ": "
                                    << ::testing::PrintToString(all);
  };
  check(window_, taken_.size());
  for (std::size_t from = window_; from + window_ <= taken_.size(); from += window_ / 4)
    check(from, from + window_);
}

}  // namespace sidecar::sim
