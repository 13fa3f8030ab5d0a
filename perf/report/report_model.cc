#include "perf/report/report_model.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <stdexcept>

namespace sidecar::perf {
namespace {

using nlohmann::json;

// One object's fields. A field that is absent or null is not there; one of the wrong type throws, with its
// name.
class Fields {
 public:
  Fields(const json& object, std::string prefix) : object_(object), prefix_(std::move(prefix)) {
    if (!object.is_object())
      throw std::runtime_error((prefix_.empty() ? "the line " : prefix_) + "is not an object");
  }
  [[nodiscard]] const json* find(const char* name) const {
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  [[nodiscard]] std::string name_of(const char* name) const { return prefix_ + name + " "; }
  [[nodiscard]] std::string text(const char* name) const {
    const json* const value = find(name);
    if (value == nullptr) return {};
    if (!value->is_string()) throw std::runtime_error(name_of(name) + "is not a text");
    return value->get<std::string>();
  }
  [[nodiscard]] std::optional<double> number(const char* name) const {
    const json* const value = find(name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number() || value->get<double>() < 0) {
      throw std::runtime_error(name_of(name) + "is not a number from 0 on");
    }
    return value->get<double>();
  }
  [[nodiscard]] std::optional<std::uint64_t> count(const char* name) const {
    const json* const value = find(name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_unsigned()) throw std::runtime_error(name_of(name) + "is not a whole number");
    return value->get<std::uint64_t>();
  }
  [[nodiscard]] std::optional<Fields> inner(const char* name) const {
    const json* const value = find(name);
    if (value == nullptr) return std::nullopt;
    return Fields(*value, name_of(name));
  }

 private:
  const json& object_;
  std::string prefix_;
};

Throughput throughput(const Fields& line, const char* name) {
  const auto in = line.inner(name);
  if (!in) return {};
  return {in->number("average"), in->number("overall")};
}

Latency latency(const Fields& line) {
  const auto in = line.inner("latency_us");
  if (!in) return {};
  return {in->number("typical"), in->number("average"), in->number("overall"), in->number("p50"),
          in->number("p90"),     in->number("p99"),     in->number("p999"),    in->number("max")};
}

std::optional<Reference> reference(const Fields& line) {
  const auto in = line.inner("reference");
  if (!in) return std::nullopt;
  Reference out;
  out.name = in->text("name");
  out.unit = in->text("unit");
  out.value = in->number("value");
  out.ours = in->number("ours");
  out.spread = in->number("spread");
  out.ratio_p25 = in->number("ratio_p25");
  out.ratio_p75 = in->number("ratio_p75");
  out.pairs = in->count("pairs");
  const json* const noisy = in->find("noisy");
  out.noisy = noisy != nullptr && *noisy == json(true);
  return out;
}

std::optional<PromisedBar> bar(const Fields& line) {
  const auto in = line.inner("bar");
  if (!in) return std::nullopt;
  const auto value = in->number("value");
  if (!value) throw std::runtime_error("bar value is missing");
  PromisedBar out{in->text("is"), *value, std::nullopt};
  if (const json* const holds = in->find("holds"); holds != nullptr && holds->is_boolean()) {
    out.holds = holds->get<bool>();
  }
  return out;
}

std::vector<std::pair<double, std::uint64_t>> histogram(const Fields& line) {
  std::vector<std::pair<double, std::uint64_t>> out;
  const json* const buckets = line.find("histogram");
  if (buckets == nullptr) return out;
  const auto is_bucket = [](const json& b) {
    return b.is_array() && b.size() == 2 && b[0].is_number() && b[1].is_number_unsigned();
  };
  if (!buckets->is_array() || !std::ranges::all_of(*buckets, is_bucket)) {
    throw std::runtime_error("histogram is not a list of [upper_us, count]");
  }
  for (const json& b : *buckets) out.emplace_back(b[0].get<double>(), b[1].get<std::uint64_t>());
  std::ranges::sort(out);
  return out;
}

Measurement measurement(const Fields& line) {
  Measurement out;
  out.test = line.text("test");
  if (out.test.empty()) throw std::runtime_error("test is missing");
  out.path = line.text("path");
  out.size = line.count("size");
  out.outstanding = line.count("outstanding");
  out.iterations = line.count("iterations");
  out.x_name = line.text("x_name");
  out.x = line.number("x");
  out.latency = latency(line);
  out.bandwidth_mib_s = throughput(line, "bandwidth_mib_s");
  out.rate_s = throughput(line, "rate_s");
  out.histogram = histogram(line);
  out.ratio = line.number("ratio");
  out.reference = reference(line);
  out.bar = bar(line);
  const auto cores = line.count("cores");
  out.setup = {line.text("git"),
               line.text("ucx"),
               line.text("transports"),
               line.text("cpu"),
               cores ? std::to_string(*cores) : std::string(),
               line.text("kernel"),
               line.text("poll"),
               line.text("settings")};
  out.time = line.text("time");
  return out;
}

}  // namespace

tl::expected<Measurement, std::string> parse_measurement(std::string_view line) {
  try {
    return measurement(Fields(json::parse(line), ""));
  } catch (const json::exception&) {
    // Its own text repeats what the line holds, which may be anything.
    return tl::unexpected<std::string>("not JSON");
  } catch (const std::runtime_error& error) {
    return tl::unexpected<std::string>(error.what());
  }
}

std::vector<Measurement> read_measurements(const std::filesystem::path& folder, std::ostream& complaints) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() == ".jsonl") files.push_back(at->path());
  }
  if (error) complaints << folder.string() << ": " << error.message() << "\n";
  std::ranges::sort(files);
  std::vector<Measurement> out;
  for (const auto& path : files) {
    std::ifstream file(path);
    if (!file) complaints << path.string() << ": cannot be read\n";
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      if (auto parsed = parse_measurement(line)) {
        out.push_back(std::move(*parsed));
      } else {
        complaints << path.string() << ":" << number << ": " << parsed.error() << "\n";
      }
    }
  }
  return out;
}

}  // namespace sidecar::perf
