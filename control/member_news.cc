#include "control/member_news.h"

#include <chrono>
#include <thread>

namespace sidecar {

MemberNews::MemberNews(Members& members, Mailbox& mailbox, OnLoop on_loop)
    : members_(members), mailbox_(mailbox), on_loop_(std::move(on_loop)) {
  std::vector<MemberRecord> present;
  listener_ = members_.listen([this](const MemberChange& change) { post(change); }, &present);
}

MemberNews::~MemberNews() {
  ending_ = true;
  members_.stop_listening(listener_);
}

void MemberNews::post(const MemberChange& change) {
  // A full mailbox empties itself; until then the provider waits.
  while (!ending_ && !mailbox_.post([this, change] { on_loop_(change); }))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

}  // namespace sidecar
