// No huge pages for this process, nor for those that it starts meanwhile.
#pragma once

#include <sys/prctl.h>

namespace sidecar::perf {

class NoHugePages {
 public:
  NoHugePages() : before_(::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)) {
    ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  }
  ~NoHugePages() { ::prctl(PR_SET_THP_DISABLE, before_ > 0 ? 1 : 0, 0, 0, 0); }
  NoHugePages(const NoHugePages&) = delete;
  NoHugePages& operator=(const NoHugePages&) = delete;

 private:
  int before_;
};

}  // namespace sidecar::perf
