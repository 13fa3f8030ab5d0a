#include "client/python/src/data.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>

#include "client/python/src/guard.h"
#include "client/python/src/process.h"

namespace sidecar::python {

namespace nb = nanobind;

namespace {

nb::dlpack::dtype dlpack_of(Dtype dtype, bool as_ints = false) {
  using Code = nb::dlpack::dtype_code;
  const auto make = [&](Code code) {
    return nb::dlpack::dtype{static_cast<std::uint8_t>(code),
                             static_cast<std::uint8_t>(8 * dtype_bytes(dtype)), 1};
  };
  if (as_ints) return make(dtype_bytes(dtype) == 1 ? Code::UInt : Code::Int);
  switch (dtype) {
    case Dtype::kBool: return make(Code::Bool);
    case Dtype::kI8:
    case Dtype::kI16:
    case Dtype::kI32:
    case Dtype::kI64: return make(Code::Int);
    case Dtype::kF16:
    case Dtype::kF32:
    case Dtype::kF64: return make(Code::Float);
    case Dtype::kBF16: return make(Code::Bfloat);
    case Dtype::kC64:
    case Dtype::kC128: return make(Code::Complex);
    case Dtype::kU8:
    case Dtype::kU16:
    case Dtype::kU32:
    case Dtype::kU64:
    case Dtype::kF8E4M3:  // as their bits: what reads DLPack seldom knows them
    case Dtype::kF8E5M2: return make(Code::UInt);
  }
  return {static_cast<std::uint8_t>(Code::UInt), 8, 1};
}

AnyArray array_of(const std::byte* data, const std::vector<std::uint64_t>& shape, nb::dlpack::dtype dtype,
                  nb::handle owner) {
  const std::vector<std::size_t> extents(shape.begin(), shape.end());
  return AnyArray(const_cast<std::byte*>(data), extents.size(), extents.data(), owner, nullptr, dtype);
}

nb::tuple tuple_of(const std::vector<std::uint64_t>& shape) {
  nb::list list;
  for (const std::uint64_t extent : shape) list.append(extent);
  return nb::tuple(list);
}

int fill_buffer(PyObject* object, Py_buffer* view, int flags, const std::byte* data, std::uint64_t bytes,
                bool read_only) {
  static std::byte nothing{};  // an empty chunk may have no address
  void* const from = bytes == 0 ? &nothing : const_cast<std::byte*>(data);
  return PyBuffer_FillInfo(view, object, from, static_cast<Py_ssize_t>(bytes), read_only ? 1 : 0, flags);
}

int chunk_buffer(PyObject* object, Py_buffer* view, int flags) {
  const auto& chunk = *nb::inst_ptr<Chunk>(object);
  return fill_buffer(object, view, flags, chunk.data(), chunk.view().size_bytes(), chunk.read_only());
}

int memory_buffer(PyObject* object, Py_buffer* view, int flags) {
  const auto& memory = *nb::inst_ptr<Memory>(object);
  return fill_buffer(object, view, flags, memory.content().data, memory.content().bytes, false);
}

}  // namespace

Chunk::Chunk(View view, bool guarded) : view_(std::move(view)) {
  if (!guarded || view_.end_of_stream()) return;
  guarded_ = guarded_pages(view_.size_bytes());
  if (view_.size_bytes() > 0) std::memcpy(guarded_, view_.data(), view_.size_bytes());
}

Chunk::~Chunk() {
  if (guarded_ != nullptr) free_pages(guarded_, view_.size_bytes());
  let_go(std::move(view_));
}

AnyArray Chunk::array(nb::handle self, bool as_ints) const {
  return array_of(data(), view_.shape(), dlpack_of(view_.dtype(), as_ints), self);
}

void Chunk::forbid(const std::string& what) {
  if (guarded_ != nullptr) forbid_pages(guarded_, view_.size_bytes(), what);
}

Memory::~Memory() {
  let_go(std::move(buffer_));
  let_go(std::move(content_));
}

AnyArray Memory::array(nb::handle self, bool as_ints) const {
  return array_of(content_->data, content_->shape, dlpack_of(content_->dtype, as_ints), self);
}

std::optional<Dtype> dtype_of(nb::dlpack::dtype dtype) {
  for (const Dtype candidate :
       {Dtype::kBool, Dtype::kU8, Dtype::kI8, Dtype::kU16, Dtype::kI16, Dtype::kU32, Dtype::kI32, Dtype::kU64,
        Dtype::kI64, Dtype::kF16, Dtype::kBF16, Dtype::kF32, Dtype::kF64, Dtype::kC64, Dtype::kC128}) {
    if (dlpack_of(candidate) == dtype) return candidate;
  }
  return std::nullopt;
}

void bind_data(nb::module_& module) {
  static PyType_Slot chunk_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(chunk_buffer)}, {0, nullptr}};
  nb::class_<Chunk>(module, "Chunk", nb::type_slots(chunk_slots), nb::is_weak_referenceable())
      .def_prop_ro("end", [](const Chunk& chunk) { return chunk.view().end_of_stream(); })
      .def_prop_ro("is_object", [](const Chunk& chunk) { return chunk.view().is_object(); })
      .def_prop_ro("codec", [](const Chunk& chunk) { return chunk.view().codec(); })
      .def_prop_ro("dtype", [](const Chunk& chunk) { return static_cast<int>(chunk.view().dtype()); })
      .def_prop_ro("shape", [](const Chunk& chunk) { return tuple_of(chunk.view().shape()); })
      .def_prop_ro("nbytes", [](const Chunk& chunk) { return chunk.view().size_bytes(); })
      .def_prop_ro("num_chunks", [](const Chunk& chunk) { return chunk.view().num_chunks(); })
      .def_prop_ro("is_shared", [](const Chunk& chunk) { return chunk.view().is_shared(); })
      .def("array",
           [](nb::handle self, bool as_ints) { return nb::inst_ptr<Chunk>(self)->array(self, as_ints); })
      .def("guarded", [](const Chunk& chunk) { return new Chunk(chunk.view(), true); })
      .def("forbid", &Chunk::forbid);
  static PyType_Slot memory_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(memory_buffer)},
                                       {0, nullptr}};
  nb::class_<Memory>(module, "Memory", nb::type_slots(memory_slots))
      .def_prop_ro("valid", &Memory::valid)
      .def_prop_ro(
          "address",
          [](const Memory& memory) { return reinterpret_cast<std::uintptr_t>(memory.content().data); })
      .def_prop_ro("dtype", [](const Memory& memory) { return static_cast<int>(memory.content().dtype); })
      .def_prop_ro("shape", [](const Memory& memory) { return tuple_of(memory.content().shape); })
      .def_prop_ro("nbytes", [](const Memory& memory) { return memory.content().bytes; })
      .def_prop_ro("is_shared", [](const Memory& memory) { return memory.content().in_arena; })
      .def("array",
           [](nb::handle self, bool as_ints) { return nb::inst_ptr<Memory>(self)->array(self, as_ints); })
      .def("give_back", &Memory::give_back);
}

}  // namespace sidecar::python
