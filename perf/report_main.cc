// sidecar-perf-report DIR: see report.h.
#include <cstdio>
#include <iostream>

#include "perf/report.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: sidecar-perf-report DIR\n", stderr);
    return 2;
  }
  return sidecar::perf::report(argv[1], std::cout, std::cerr);
}
