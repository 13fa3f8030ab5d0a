// What concerns the whole process: forks, and the Python objects that the library's own thread lets go of.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <utility>

namespace sidecar::python {

// Once, when the module is loaded.
void watch_forks();
// Whether this is a forked child: the library's thread, its locks and its connections are the parent's.
bool is_forked();
// Raises RuntimeError in a forked child.
void check_not_forked();

// Without the GIL while it lives. At the interpreter's end its own threads stop here for good: Python would
// end them by unwinding, which C++ does not survive.
class WithoutGil {
 public:
  WithoutGil() : thread_(PyEval_SaveThread()) {}
  ~WithoutGil();
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* thread_;
};

// Lets go of it; in a forked child it is left as it is, since its end would touch what is the parent's.
template <class T>
void let_go(T&& value) {
  if (is_forked())
    new std::remove_cvref_t<T>(std::forward<T>(value));
  else
    static_cast<void>(std::remove_cvref_t<T>(std::forward<T>(value)));
}

// A Python object that is kept until drop(), which any thread may call without holding the GIL: the reference
// goes with the next call that holds it.
class Kept {
 public:
  explicit Kept(nanobind::object object) : object_(object.release().ptr()) {}
  ~Kept() { drop(); }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
  void drop();

 private:
  PyObject* object_;
};
// Holding the GIL.
void release_dropped();

}  // namespace sidecar::python
