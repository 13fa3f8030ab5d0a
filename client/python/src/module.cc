// The extension module sidecar._core: calls, chunks and failures, with no policy of its own. What users see
// is in the package around it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "client/python/src/call.h"
#include "client/python/src/client.h"
#include "client/python/src/completions.h"
#include "client/python/src/data.h"
#include "client/python/src/process.h"

namespace sidecar::python {

namespace nb = nanobind;

namespace {

std::vector<std::pair<Rank, int>> failed_ranks(const Failure& failure) {
  std::vector<std::pair<Rank, int>> ranks;
  for (const FailedRank& each : failure.failed) ranks.emplace_back(each.rank, static_cast<int>(each.code));
  return ranks;
}

void bind_failures(nb::module_& module) {
  nb::class_<Failure>(module, "Failure")
      .def_prop_ro("code", [](const Failure& failure) { return static_cast<int>(failure.code); })
      .def_prop_ro("rank", [](const Failure& failure) { return failure.rank; })
      .def_prop_ro("message", [](const Failure& failure) { return failure.message; })
      .def_prop_ro("failed", failed_ranks);
  nb::dict codes;
  for (int code = 0; code <= static_cast<int>(Errc::kInternal); ++code)
    codes[errc_name(static_cast<Errc>(code))] = code;
  module.attr("codes") = codes;
  nb::list dtypes;
  for (std::uint8_t i = 0; i < kDtypeCount; ++i) dtypes.append(dtype_name(static_cast<Dtype>(i)));
  module.attr("dtypes") = dtypes;
}

// The library's thread may hold the last reference, which must not be one of Python's: its end takes the GIL.
struct PyCompletions {
  std::shared_ptr<Completions> shared = std::make_shared<Completions>();
};

void bind_calls(nb::module_& module) {
  nb::class_<PyCompletions>(module, "Completions")
      .def(nb::init<>())
      .def_prop_ro("fd", [](const PyCompletions& completions) { return completions.shared->fd(); })
      .def("take", [](const PyCompletions& completions) { return completions.shared->take(); });
  nb::class_<Call>(module, "Call")
      .def("done", &Call::done)
      .def("refused", &Call::refused)
      .def("wait", &Call::wait, nb::arg("seconds") = -1.0)
      .def("result", &Call::result)
      .def("cancel", &Call::cancel)
      .def("notify", [](Call& call, const PyCompletions& completions, std::uint64_t token) {
        call.notify(completions.shared, token);
      });
}

}  // namespace
}  // namespace sidecar::python

NB_MODULE(_core, module) {
  using namespace sidecar::python;
  nb::set_leak_warnings(false);  // arrays may outlive the interpreter's last look
  watch_forks();
  bind_failures(module);
  bind_calls(module);
  bind_data(module);
  bind_client(module);
}
