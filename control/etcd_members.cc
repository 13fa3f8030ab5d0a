#include "control/etcd_members.h"

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include "control/etcd_claim.h"
#include "control/etcd_client.h"
#include "control/member_table.h"
#include "control/peers.h"
#include "core/check.h"
#include "core/log.h"
#include "fmt/format.h"

namespace sidecar {
namespace {

using std::chrono::milliseconds;
using Clock = EtcdClient::Clock;

constexpr milliseconds kBackoffFirst{200};
constexpr milliseconds kBackoffMax{5'000};
constexpr milliseconds kCallMax{2'000};
constexpr milliseconds kCallMin{500};
constexpr milliseconds kLeaveLimit{1'000};

}  // namespace

class EtcdMembers::Impl {
 public:
  explicit Impl(EtcdOptions options)
      : options_(std::move(options)), folder_(options_.prefix + "members/"), random_(std::random_device{}()) {
    CHECK(!options_.endpoints.empty());
    // Not all sidecars ask the same server first.
    endpoint_ = random_() % options_.endpoints.size();
  }
  ~Impl() { stop(); }

  void join(const MemberRecord& own, OnJoined on_joined) {
    CHECK(!thread_.joinable() && own.rank == options_.rank);
    own_ = own;
    on_joined_ = std::move(on_joined);
    claim_.emplace(folder_ + std::to_string(own.rank), own, options_.ttl);
    table.put(own);
    thread_ = std::thread([this] { run(); });
  }

  void leave() {
    stop();
    if (!claim_ || claim_->lease() == 0) return;
    const std::int64_t lease = claim_->lease();
    claim_.reset();
    std::string why;
    const auto until = Clock::now() + kLeaveLimit;
    for (std::size_t i = 0; i < options_.endpoints.size(); ++i) {
      const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now());
      if (left <= milliseconds(0)) break;
      EtcdClient etcd(options_.endpoints[(endpoint_ + i) % options_.endpoints.size()], left,
                      options_.credentials);
      const auto done = etcd.revoke(lease);
      if (done) return;
      why = done.error();
    }
    LOG_WARN("etcd at {}: {}: our record stays until its lease ends, at most {} s",
             fmt::join(options_.endpoints, ","), why, options_.ttl.count());
  }

  [[nodiscard]] Rank rank() const { return options_.rank; }
  MemberTable table;

 private:
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
      if (etcd_ != nullptr) etcd_->cancel();
      ended_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
  }

  [[nodiscard]] bool ending() {
    const std::lock_guard lock(mutex_);
    return ending_;
  }

  // False: all is ending.
  bool pause(milliseconds about) {
    std::uniform_int_distribution<std::int64_t> jitter(about.count() / 2, about.count() * 3 / 2);
    std::unique_lock lock(mutex_);
    return !ended_.wait_for(lock, milliseconds(jitter(random_)), [&] { return ending_; });
  }

  void run() {
    while (true) {
      const std::string why = session();
      if (ending()) return;
      trouble(why);
      endpoint_ = (endpoint_ + 1) % options_.endpoints.size();
      ++failures_;
      const bool all_tried = failures_ >= options_.endpoints.size();
      if (!pause(all_tried ? backoff_ : kBackoffFirst / 10)) return;
      // Back well before a lease that began anew with etcd ends.
      const milliseconds longest =
          std::min(kBackoffMax, std::chrono::duration_cast<milliseconds>(options_.ttl) / 4);
      if (all_tried) backoff_ = std::min(backoff_ * 2, longest);
    }
  }

  // With one server, until it fails: why it did.
  std::string session() {
    const milliseconds limit =
        std::clamp(std::chrono::duration_cast<milliseconds>(options_.ttl) / 4, kCallMin, kCallMax);
    auto etcd = std::make_shared<EtcdClient>(options_.endpoints[endpoint_], limit, options_.credentials);
    {
      const std::lock_guard lock(mutex_);
      if (ending_) return {};
      etcd_ = etcd;
    }
    // First what cannot wait: our lease may be about to end.
    if (claim_->state() == EtcdClaim::State::kHeld) {
      if (const auto done = step(*etcd); !done) return done.error();
    }
    while (true) {
      auto revision = take_list(*etcd);
      if (!revision) return revision.error();
      etcd->watch(folder_, *revision + 1);
      const EtcdNews last = follow(*etcd, Clock::now() + limit);
      if (last.kind != EtcdNews::Kind::kCompacted) return last.why;
      LOG_INFO("etcd: the changes that were watched are compacted: listing again");
      if (!pause(kBackoffFirst / 10)) return {};
    }
  }

  // Goes on until the watch ends, or something else fails.
  EtcdNews follow(EtcdClient& etcd, Clock::time_point created_by) {
    bool created = false;
    while (true) {
      if (claim_->due() <= Clock::now()) {
        if (const auto done = step(etcd); !done) return {EtcdNews::Kind::kEnded, {}, done.error()};
      }
      if (!created && Clock::now() >= created_by)
        return {EtcdNews::Kind::kEnded, {}, "Watch: no answer in time"};
      // In steps, because a time too far away is none that gRPC can wait for.
      auto until = std::min(claim_->due(), Clock::now() + std::chrono::seconds(10));
      if (!created) until = std::min(until, created_by);
      EtcdNews news = etcd.next(until);
      switch (news.kind) {
        case EtcdNews::Kind::kNothing: break;
        case EtcdNews::Kind::kCreated:
          created = true;
          all_is_well();
          break;
        case EtcdNews::Kind::kEvents:
          for (const EtcdEvent& event : news.events) take_event(event);
          break;
        case EtcdNews::Kind::kCompacted:
        case EtcdNews::Kind::kEnded: return news;
      }
    }
  }

  // Our own record's next step, and whom to tell of it.
  EtcdReply<void> step(EtcdClient& etcd) {
    auto done = claim_->step(etcd);
    tell_claim();
    return done;
  }

  void tell_claim() {
    const EtcdClaim::State state = claim_->state();
    if (state == EtcdClaim::State::kHeld && on_joined_ != nullptr) std::exchange(on_joined_, nullptr)({});
    if (state == EtcdClaim::State::kRefused && on_joined_ != nullptr)
      std::exchange(on_joined_, nullptr)(tl::unexpected(claim_->why()));
    if (state == EtcdClaim::State::kUsurped && !std::exchange(usurped_, true)) {
      LOG_ERROR("{}", claim_->why());
      options_.on_usurped(claim_->why());
    }
  }

  // The revision of the list.
  EtcdReply<std::int64_t> take_list(EtcdClient& etcd) {
    const auto list = etcd.list(folder_);
    if (!list) return tl::unexpected(list.error());
    std::vector<MemberRecord> records{own_};
    const std::string* ours = nullptr;
    for (const EtcdRecord& record : list->records) {
      if (record.key == claim_->key()) {
        ours = &record.value;
      } else if (const auto member = member_of(record)) {
        records.push_back(*member);
      }
    }
    table.replace_all(records);
    claim_->seen(ours, list->revision);
    tell_claim();
    return list->revision;
  }

  void take_event(const EtcdEvent& event) {
    if (event.record.key == claim_->key()) {
      claim_->seen(event.deleted ? nullptr : &event.record.value, event.record.revision);
      return tell_claim();
    }
    if (event.deleted) {
      if (const auto rank = rank_of(event.record.key)) table.erase(*rank);
    } else if (const auto member = member_of(event.record)) {
      table.put(*member);
    }
  }

  [[nodiscard]] std::optional<Rank> rank_of(const std::string& key) const {
    if (!key.starts_with(folder_)) return std::nullopt;
    const char* const begin = key.data() + folder_.size();
    const char* const end = key.data() + key.size();
    Rank rank = kNoRank;
    const auto [rest, error] = std::from_chars(begin, end, rank);
    if (error != std::errc{} || rest != end || rank < 0 || rank > kRankMax) return std::nullopt;
    return rank;
  }

  [[nodiscard]] std::optional<MemberRecord> member_of(const EtcdRecord& record) const {
    const auto rank = rank_of(record.key);
    auto member = rank ? decode_member(record.value, *rank) : std::nullopt;
    if (!member) LOG_WARN_LIMITED("etcd: {} is no member's record: not heeded", record.key);
    return member;
  }

  void trouble(const std::string& why) {
    if (!in_trouble_) since_ = Clock::now();
    const bool all_failed = failures_ + 1 >= options_.endpoints.size();
    if (in_trouble_ || !all_failed) {
      LOG_DEBUG("etcd at {}: {}", options_.endpoints[endpoint_], why);
      if (!all_failed) return;
    } else {
      LOG_WARN("etcd at {}: {}; the members known until now stay, and it is tried again until it answers",
               fmt::join(options_.endpoints, ","), why);
    }
    in_trouble_ = true;
  }

  void all_is_well() {
    failures_ = 0;
    backoff_ = kBackoffFirst;
    if (!std::exchange(in_trouble_, false)) return;
    LOG_INFO("etcd at {} answers again, after {} s", options_.endpoints[endpoint_],
             std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - since_).count());
  }

  const EtcdOptions options_;
  const std::string folder_;

  // The thread's, while it runs.
  MemberRecord own_;
  OnJoined on_joined_;
  std::optional<EtcdClaim> claim_;
  std::minstd_rand random_;
  std::size_t endpoint_ = 0;
  std::size_t failures_ = 0;  // one after the other
  milliseconds backoff_ = kBackoffFirst;
  bool in_trouble_ = false;
  bool usurped_ = false;
  Clock::time_point since_{};

  std::mutex mutex_;
  std::condition_variable ended_;
  bool ending_ = false;
  std::shared_ptr<EtcdClient> etcd_;
  std::thread thread_;
};

EtcdMembers::EtcdMembers(EtcdOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
EtcdMembers::~EtcdMembers() = default;

// Ours also before we have joined: clients may be quicker.
bool EtcdMembers::knows(Rank rank) const { return rank == impl_->rank() || impl_->table.knows(rank); }
std::optional<MemberRecord> EtcdMembers::find(Rank rank) const { return impl_->table.find(rank); }
std::vector<MemberRecord> EtcdMembers::list() const { return impl_->table.list(); }
std::string EtcdMembers::summary() const { return impl_->table.summary(); }
Members::ListenerId EtcdMembers::listen(Listener listener, std::vector<MemberRecord>* present) {
  return impl_->table.listen(std::move(listener), present);
}
void EtcdMembers::stop_listening(ListenerId listener) { impl_->table.stop_listening(listener); }
void EtcdMembers::join(const MemberRecord& own, OnJoined on_joined) {
  impl_->join(own, std::move(on_joined));
}
void EtcdMembers::leave() { impl_->leave(); }

}  // namespace sidecar
