#include "client/npy.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cstring>

#include "core/types.h"

namespace sidecar::npy {
namespace {

struct Name {
  std::string_view descr;  // without the byte order
  Dtype dtype;
};
constexpr std::array<Name, 14> kNames{{{"b1", Dtype::kBool},
                                       {"u1", Dtype::kU8},
                                       {"i1", Dtype::kI8},
                                       {"u2", Dtype::kU16},
                                       {"i2", Dtype::kI16},
                                       {"u4", Dtype::kU32},
                                       {"i4", Dtype::kI32},
                                       {"u8", Dtype::kU64},
                                       {"i8", Dtype::kI64},
                                       {"f2", Dtype::kF16},
                                       {"f4", Dtype::kF32},
                                       {"f8", Dtype::kF64},
                                       {"c8", Dtype::kC64},
                                       {"c16", Dtype::kC128}}};

Failure bad(const std::string& what) { return {Errc::kInvalidArgument, kNoRank, "npy: " + what}; }

// The header's text is a Python dict of three known keys. This reads that much of Python and no more.
class Text {
 public:
  explicit Text(std::string_view text) : rest_(text) {}

  bool take(char c) {
    skip_space();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool take_word(std::string_view word) {
    skip_space();
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool take_string(std::string_view* out) {
    skip_space();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) return false;
    const std::size_t end = rest_.find(rest_.front(), 1);
    if (end == std::string_view::npos) return false;
    *out = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return true;
  }
  bool take_number(std::uint64_t* out) {
    skip_space();
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), *out);
    if (error != std::errc()) return false;
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    take_word("L");  // Python 2 wrote long integers so
    return true;
  }
  [[nodiscard]] bool at_end() {
    skip_space();
    return rest_.empty();
  }

 private:
  void skip_space() {
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_.front())) != 0)
      rest_.remove_prefix(1);
  }
  std::string_view rest_;
};

Expected<Dtype> dtype_of(std::string_view descr) {
  const std::string shown(descr);
  if (descr.size() < 3) return bad("element type '" + shown + "' is unknown");
  const char order = descr.front();
  const std::string_view kind = descr.substr(1);
  const bool single_byte = kind == "b1" || kind == "u1" || kind == "i1";
  if (order == '>' && !single_byte) {
    return bad("element type '" + shown +
               "' is big-endian; convert it first (numpy: a.astype(a.dtype.newbyteorder('<')))");
  }
  for (const Name& name : kNames) {
    if (name.descr == kind && (order == '<' || order == '|' || order == '=' || order == '>'))
      return name.dtype;
  }
  return bad("element type '" + shown + "' is not supported (numbers and bool are)");
}

bool take_shape(Text* text, std::vector<std::uint64_t>* shape) {
  if (!text->take('(')) return false;
  while (!text->take(')')) {
    std::uint64_t extent = 0;
    if (!text->take_number(&extent)) return false;
    shape->push_back(extent);
    if (!text->take(',')) return text->take(')');
  }
  return true;
}

std::string descr_of(Dtype dtype) {
  if (dtype == Dtype::kBF16) return "<V2";
  if (dtype == Dtype::kF8E4M3 || dtype == Dtype::kF8E5M2) return "|V1";
  for (const Name& name : kNames) {
    if (name.dtype == dtype) return (dtype_bytes(dtype) == 1 ? "|" : "<") + std::string(name.descr);
  }
  return "|V" + std::to_string(dtype_bytes(dtype));
}

}  // namespace

bool is_npy(std::span<const std::byte> start) {
  return start.size() >= kMagic.size() && std::memcmp(start.data(), kMagic.data(), kMagic.size()) == 0;
}

Expected<std::size_t> data_offset(std::span<const std::byte> start) {
  if (!is_npy(start) || start.size() < 10) return bad("not a .npy file, or cut off");
  const auto byte = [&](std::size_t at) { return std::to_integer<std::size_t>(start[at]); };
  const std::size_t major = byte(6);
  std::size_t offset = 0;
  if (major == 1) {
    offset = 10 + (byte(8) | byte(9) << 8);
  } else if (major == 2 || major == 3) {
    if (start.size() < 12) return bad("cut off in its header");
    offset = 12 + (byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24);
  } else {
    return bad("format version " + std::to_string(major) + " is unknown");
  }
  if (offset > kHeaderBytesMax)
    return bad("a header of " + std::to_string(offset) + " bytes is not believed");
  return offset;
}

Expected<Header> parse(std::span<const std::byte> head) {
  const Expected<std::size_t> offset = data_offset(head);
  if (!offset) return offset.error();
  if (head.size() != *offset) return bad("cut off in its header");
  const std::size_t preamble = std::to_integer<int>(head[6]) == 1 ? 10 : 12;
  Text text({reinterpret_cast<const char*>(head.data()) + preamble, head.size() - preamble});
  Header header;
  bool have_descr = false, have_order = false, have_shape = false, fortran = false;
  if (!text.take('{')) return bad("its header is not a dictionary");
  while (!text.take('}')) {
    std::string_view key;
    if (!text.take_string(&key) || !text.take(':')) return bad("its header cannot be read");
    if (key == "descr") {
      std::string_view descr;
      if (!text.take_string(&descr)) return bad("structured elements are not supported");
      const Expected<Dtype> dtype = dtype_of(descr);
      if (!dtype) return dtype.error();
      header.dtype = *dtype;
      have_descr = true;
    } else if (key == "fortran_order") {
      fortran = text.take_word("True");
      if (!fortran && !text.take_word("False")) return bad("its fortran_order cannot be read");
      have_order = true;
    } else if (key == "shape") {
      header.shape.clear();
      if (!take_shape(&text, &header.shape)) return bad("its shape cannot be read");
      have_shape = true;
    } else {
      return bad("its header has an unknown key");
    }
    if (!text.take(',')) {
      if (!text.take('}')) return bad("its header cannot be read");
      break;
    }
  }
  if (!have_descr || !have_order || !have_shape || !text.at_end()) return bad("its header is not complete");
  if (header.shape.size() > kDimsMax) return bad("more than 16 dimensions");
  if (fortran && header.shape.size() > 1) {
    return bad("its elements are in Fortran order; convert it first (numpy: np.ascontiguousarray(a))");
  }
  return header;
}

std::string format(const Header& header, std::size_t pad_to) {
  std::string text = "{'descr': '" + descr_of(header.dtype) + "', 'fortran_order': False, 'shape': (";
  for (std::size_t i = 0; i < header.shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(header.shape[i]);
  }
  text += header.shape.size() == 1 ? ",), }" : "), }";
  // At most 16 dimensions of 20 digits: version 1, with its 16 bits for the length, is always enough.
  constexpr std::size_t kPreamble = 10;
  const std::size_t wanted = std::max(kPreamble + text.size() + 1, pad_to);
  const std::size_t total = (wanted + 63) / 64 * 64;
  text.append(total - kPreamble - text.size() - 1, ' ');
  text += '\n';
  std::string out(kMagic);
  out += {'\x01', '\x00'};
  out += static_cast<char>(text.size() & 0xff);
  out += static_cast<char>(text.size() >> 8);
  return out + text;
}

}  // namespace sidecar::npy
