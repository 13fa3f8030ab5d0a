// UCX settings: ours are defaults, whatever the user has put into the environment wins. UCX reads its
// transports' settings from the process's environment only, so opening a plane sets them there for as long as
// it takes: open planes before other threads run that read or write the environment.
#pragma once

#include <string>

#include "am_protocol/ucx.h"

namespace sidecar {

// kLocal: shared memory to processes of this host (and TCP to set the connection up). kNet: anything but
// shared memory, so that two sidecars that are told to be different nodes use the network even on one host.
//
// Both sides of a connection must have the same settings where they decide about lanes (UCX_MAX_RNDV_RAILS
// above all): UCX 1.13 refuses the connection otherwise ("no remote ep address for lane").
//
// UCX_TLS speaks of the network plane. SIDECAR_LOCAL_UCX_<NAME> and SIDECAR_NET_UCX_<NAME> speak of one plane
// only.
enum class PlaneKind : std::uint8_t { kLocal, kNet };
const char* plane_name(PlaneKind kind);

struct OpenedPlane {
  UcxContext context;
  UcxWorker worker;
  int fd = -1;           // the worker's, readable when it must be progressed
  std::string settings;  // "UCX_TLS=sysv,posix,cma,tcp ...": what is in force, for the log
};

// `cma`: whether the kernel may copy between processes (am_protocol/cma.h). kIo when UCX cannot open it; the
// settings that the user chose are the likely reason. `devices`: what kNet may use, as UCX_NET_DEVICES;
// empty: anything. `keep_environment`: what was set there for UCX stays, and is found by the next.
Result<OpenedPlane> open_plane(PlaneKind kind, bool cma, const std::string& devices = "",
                               bool keep_environment = false);

}  // namespace sidecar
