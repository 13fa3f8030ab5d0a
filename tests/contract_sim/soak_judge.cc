// What may come of a call, given what was done and what went wrong.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "tests/contract_sim/soak.h"
#include "tests/sim/cluster.h"

namespace sidecar::sim {

std::string Soak::describe(const Asked& asked) const {
  static constexpr const char* kNames[] = {"send", "recv", "mark_done", "allocate", "close_stream"};
  const Outcome& outcome = asked.client->outcome(asked.request);
  std::ostringstream text;
  text << kNames[static_cast<int>(asked.call)] << " of " << data_[asked.datum].id << "/" << asked.chunk
       << " (request " << asked.request << ") by " << asked.client->name() << ", asked at "
       << outcome.asked_at / 1000 << " us";
  if (outcome.is_final) {
    text << ", over at " << outcome.at / 1000 << " us: " << errc_name(outcome.reply.code) << " "
         << outcome.text();
  }
  return text.str();
}

void Soak::judge_all() {
  for (Asked& call : calls_) {
    if (call.judged || !call.client->over(call.request)) continue;
    call.judged = true;
    judge(call);
  }
}

void Soak::judge(Asked& asked) {
  SCOPED_TRACE(describe(asked));
  const Outcome& outcome = asked.client->outcome(asked.request);
  if (!asked.client->alive() || outcome.finals == 0) return;  // died with its client, or its sidecar
  switch (asked.call) {
    case Call::kRecv: return judge_recv(asked, outcome);
    case Call::kSend:
    case Call::kClose: return judge_send(asked, outcome);
    case Call::kDone: {
      EXPECT_EQ(outcome.reply.code, Errc::kOk);
      Held& held = held_[{asked.at, asked.datum, asked.chunk}];
      held.done_answered = std::min(held.done_answered, outcome.at);
      return;
    }
    case Call::kAllocate:
      if (outcome.reply.code != Errc::kOk) judge_code(asked, outcome.reply.code);
      return;
  }
}

// Errors that any waiting call may end with.
void Soak::judge_code(const Asked& asked, Errc code) {
  const Outcome& outcome = asked.client->outcome(asked.request);
  switch (code) {
    case Errc::kTimeout: EXPECT_GE(outcome.at - outcome.asked_at, asked.timeout); return;
    case Errc::kCancelled: EXPECT_TRUE(asked.cancelled) << "nobody cancelled it"; return;
    case Errc::kPeerLost:
      EXPECT_TRUE(lossy_ || (client_lost_ && asked.call == Call::kRecv)) << "nobody was lost";
      return;
    default: ADD_FAILURE() << errc_name(code) << ": nothing explains that";
  }
}

void Soak::judge_recv(const Asked& asked, const Outcome& outcome) {
  const Datum& datum = data_[asked.datum];
  Held& held = held_[{asked.at, asked.datum, asked.chunk}];
  switch (outcome.reply.code) {
    case Errc::kOk:
      EXPECT_FALSE(held.done_answered < outcome.asked_at) << "marked done before it was asked for";
      EXPECT_LT(asked.chunk, datum.num_chunks);
      EXPECT_GT(datum.sends[std::min(asked.chunk, datum.num_chunks - 1)], 0);
      if (held.salt && outcome.salt) {
        EXPECT_EQ(*held.salt, *outcome.salt) << "not the data that came first";
      }
      if (outcome.reply.meta.bytes > 0) held.salt = outcome.salt;
      held.delivered = true;
      return;
    case Errc::kAlreadyDone: EXPECT_NE(held.done_asked, kNever) << "nobody marked it done"; return;
    case Errc::kEndOfStream: EXPECT_GE(asked.chunk, datum.num_chunks); return;
    default: judge_code(asked, outcome.reply.code);
  }
}

void Soak::judge_send(const Asked& asked, const Outcome& outcome) {
  Datum& datum = data_[asked.datum];
  const bool close = asked.call == Call::kClose;
  if (outcome.reply.code == Errc::kOk) {
    if (close && asked.chunk == datum.num_chunks) datum.closed = true;
    EXPECT_EQ(outcome.reply.failures, 0);
  } else {
    EXPECT_GT(outcome.reply.failures, 0) << "an error that says of no rank that it failed";
  }
  for (std::size_t i = 0; i < datum.to.size(); ++i) {
    Errc code = Errc::kOk;
    for (std::size_t f = 0; f < outcome.reply.failures; ++f) {
      if (outcome.reply.failed_rank[f] == datum.to[i]) code = outcome.reply.failed_code[f];
    }
    if (code == Errc::kOk) {
      if (!close && world_.sidecar(datum.to[i])->instance() == asked.dest[i]) {
        held_[{asked.dest[i], asked.datum, asked.chunk}].delivered = true;
      }
    } else if (code == Errc::kAlreadyExists) {
      EXPECT_FALSE(close);
      EXPECT_GT(datum.sends[asked.chunk], 1) << "sent only once";
    } else if (code == Errc::kInvalidArgument) {
      EXPECT_TRUE(close && datum.closes.size() > 1) << "nothing was wrong with it";
    } else {
      judge_code(asked, code);
    }
  }
}

// --- the end
// -----------------------------------------------------------------------------------------------------------------

// Everybody goes on, and whatever waits for room gets it: then every call must end.
void Soak::finish_calls() {
  world_.heal();
  for (auto& [process, until] : stopped_) world_.go_on(*process);
  stopped_.clear();
  for (Rank rank = 0; rank < ranks_; ++rank) {
    if (!world_.sidecar(rank)->alive()) restart(rank);
  }
  world_.run_for(2 * kSecond);
  for (SimClient* client : clients_) {
    if (!client->alive()) continue;
    client->check_views();
    client->release_all_views();
    while (!client->slots().empty()) client->release_slot(client->slots().begin()->first);
    if (!client->connected()) world_.kill(*client);
  }
  const auto all_over = [&] {
    return std::ranges::all_of(calls_, [&](const Asked& call) {
      // A recv of what nobody sends, or which went with its sidecar, ends at its deadline.
      const bool may_wait = call.call == Call::kRecv;
      return may_wait || !call.client->alive() || call.client->over(call.request);
    });
  };
  // Room is made only where it is needed, so that as much as possible is still there to be checked.
  for (int round = 0; round < 40 && !world_.run_until(all_over, 20 * kSecond); ++round) {
    for (Rank rank = 0; rank < ranks_; ++rank) {
      const EngineStats stats = world_.sidecar(rank)->stats();
      SimClient* const client = some_client(rank);
      if (client == nullptr) add_client(rank);
      if (client == nullptr || !stats.memory_pressure()) {
        if (stats.counters.refusals == 0 || client == nullptr) continue;
      }
      for (const ChunkInfo& chunk : world_.sidecar(rank)->engine().chunks(0, 10'000)) {
        if (chunk.state != "ready" || chunk.bytes == 0) continue;
        const auto index = static_cast<std::size_t>(std::stoul(chunk.id.substr(1)));
        Held& held = held_[{world_.sidecar(rank)->instance(), index, chunk.chunk}];
        held.done_asked = std::min(held.done_asked, world_.now());
        asked(*client, client->mark_done(chunk.id, chunk.chunk), Call::kDone, index, chunk.chunk, kNever);
      }
    }
  }
  world_.run_for(70 * kSecond);
  judge_all();
  for (Asked& call : calls_) {
    if (!call.client->alive() || call.client->over(call.request)) continue;
    SCOPED_TRACE(describe(call));
    const Held& held = held_[{call.at, call.datum, call.chunk}];
    EXPECT_TRUE(call.call == Call::kRecv && gentle_ && !held.delivered) << "it never ended";
    call.cancelled = true;
    call.client->cancel(call.request);
  }
}

// What a destination acknowledged is there, until it is marked done there.
void Soak::check_delivered_is_readable() {
  std::vector<std::size_t> checks;
  for (const auto& [key, held] : std::map(held_)) {
    const auto& [instance, index, chunk] = key;
    if (!held.delivered) continue;
    for (const Rank rank : data_[index].to) {
      if (world_.sidecar(rank)->instance() != instance) continue;
      SimClient* const client = some_client(rank);
      if (client == nullptr) continue;
      checks.push_back(calls_.size());
      const bool by_value = client->machine() != world_.sidecar(rank)->machine();
      asked(*client, client->recv(data_[index].id, chunk, 0, by_value), Call::kRecv, index, chunk, 0);
    }
  }
  world_.run_for(5 * kSecond);
  for (const std::size_t at : checks) {
    const Asked& call = calls_[at];
    SCOPED_TRACE(describe(call));
    const Errc code = call.client->outcome(call.request).reply.code;
    const Held& held = held_[{call.at, call.datum, call.chunk}];
    // Of a datum that was lost later, only up to where it was done is remembered.
    if (lossy_ && held.done_asked != kNever && code == Errc::kPeerLost) continue;
    // A mark_done that went down with its client may or may not have been heard.
    if (held.done_asked != kNever && held.done_answered == kNever && code == Errc::kOk) continue;
    EXPECT_EQ(code, held.done_asked == kNever ? Errc::kOk : Errc::kAlreadyDone) << "it had been delivered";
  }
  judge_all();
}

void Soak::clean_up() {
  for (SimClient* client : clients_) {
    if (!client->alive()) continue;
    client->release_all_views();
    while (!client->slots().empty()) client->release_slot(client->slots().begin()->first);
  }
  for (Datum& datum : data_) {
    if (!datum.stream || world_.sidecar(datum.producer)->instance() != datum.producer_instance) continue;
    if (some_client(datum.producer) == nullptr) {
      add_client(datum.producer);
      world_.run_for(kSecond);
    }
    SimClient* const client = some_client(datum.producer);
    ASSERT_NE(client, nullptr);
    client->close_stream(datum.id, datum.num_chunks, datum.groups(), 30 * kSecond);
  }
  world_.run_for(kSecond);
  mark_done_everywhere();
  // Longer than anything is remembered in full, and than any deadline.
  world_.run_for(11 * 60 * kSecond);
}

void Soak::mark_done_everywhere() {
  for (Rank rank = 0; rank < ranks_; ++rank) {
    SimClient* client = some_client(rank);
    if (client == nullptr) {
      add_client(rank);
      world_.run_for(kSecond);
      client = some_client(rank);
    }
    ASSERT_NE(client, nullptr) << rank;
    for (const Datum& datum : data_) {
      for (ChunkIndex chunk = 0; chunk < datum.num_chunks; ++chunk) client->mark_done(datum.id, chunk);
    }
  }
}

void Soak::expect_nothing_left() {
  for (SimClient* client : clients_) {
    if (!client->alive()) continue;
    EXPECT_EQ(client->open_requests(), 0u) << client->name() << ": calls that never ended";
  }
  // Slots that a neighbour was told of before it counted as lost are kept while its process lives (rule 4).
  // So one sidecar sees all others end, and then must have nothing left.
  const auto survivor = static_cast<Rank>(random_.below(static_cast<std::uint64_t>(ranks_)));
  for (Rank rank = 0; rank < ranks_; ++rank) {
    SimSidecar& at = *world_.sidecar(rank);
    if (rank == survivor || !lossy_) continue;
    const EngineStats stats = at.stats();
    EXPECT_EQ(
        stats.receive.runs + stats.reserve.runs + stats.chunks + stats.data + stats.views + stats.foreign, 0u)
        << rank;
    EXPECT_EQ(stats.outgoing + stats.waiting_recvs + stats.waiting_sends + stats.parked_chunks, 0u) << rank;
    EXPECT_EQ(stats.send.runs, stats.quarantined) << rank;
    world_.kill(at);
  }
  world_.run_for(kSecond);
  for (Rank rank = 0; rank < ranks_; ++rank) {
    if (world_.sidecar(rank)->alive()) expect_clean(*world_.sidecar(rank), 0);
  }
}

}  // namespace sidecar::sim
