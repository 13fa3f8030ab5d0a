// Where the demo plays: a folder of its own, the processes it has started, and the end of both, however the
// demo ends.
//
// A guard process, forked first, removes the folder when nobody is left who holds the write end of a pipe:
// this process and all children do. SIGINT, SIGTERM, SIGHUP and the time limit end the children and then this
// process; if this process is killed, the kernel kills the children. So nothing stays behind in any case.
//
// Threads: for the main thread, which must outlive all children (the kernel's parent-death signal follows the
// thread).
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "client/demo/child.h"
#include "sidecar/failure.h"

namespace sidecar::demo {

class Stage {
 public:
  // In shared memory when that has room for `bytes`, otherwise in the folder for temporary files. To be
  // called before there are other threads.
  static Expected<std::unique_ptr<Stage>> open(std::uint64_t bytes, std::chrono::seconds time_limit);
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  ~Stage();  // kills what is left of the children, removes the folder

  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] std::string log_path(const std::string& name) const { return folder_ + "/" + name + ".log"; }

  // Lives as long as the stage.
  Child& start(ChildOptions options);
  // Whether it has ended in time.
  bool wait(Child& child, std::chrono::milliseconds wait_max);
  void signal(Child& child, int number);

 private:
  Stage(std::string folder, std::chrono::seconds time_limit);
  void watch();
  void kill_children();
  void wait_for_guard();

  const std::string folder_;
  const std::chrono::steady_clock::time_point ends_;
  Fd alive_;
  pid_t guard_ = -1;
  std::mutex mutex_;  // over the children, against the watcher
  std::list<Child> children_;
  bool over_ = false;
  std::thread watcher_;
};

}  // namespace sidecar::demo
