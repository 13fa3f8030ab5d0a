// Brings the changes of the membership to the loop's thread, all of them and in order.
#pragma once

#include <atomic>
#include <functional>

#include "control/members.h"
#include "core/mailbox.h"

namespace sidecar {

class MemberNews {
 public:
  using OnLoop = std::function<void(const MemberChange&)>;

  // `on_loop` hears of every change from now on.
  MemberNews(Members& members, Mailbox& mailbox, OnLoop on_loop);
  // Once the mailbox is closed. Waits for at most a moment.
  ~MemberNews();
  MemberNews(const MemberNews&) = delete;
  MemberNews& operator=(const MemberNews&) = delete;

 private:
  void post(const MemberChange& change);

  Members& members_;
  Mailbox& mailbox_;
  const OnLoop on_loop_;
  std::atomic<bool> ending_{false};
  Members::ListenerId listener_ = 0;
};

}  // namespace sidecar
