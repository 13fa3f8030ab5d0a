#include "perf/report/report_groups.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <utility>

#include "perf/report/report_text.h"

namespace sidecar::perf {
namespace {

struct TestName {
  const char* test;
  const char* title;
};
constexpr std::array kTests{
    TestName{"am_lat", "Active message latency"},
    TestName{"am_bw", "Active message bandwidth"},
    TestName{"object_lat", "Object latency"},
    TestName{"object_rate", "Object rate"},
    TestName{"object_cpu", "CPU time for an object"},
    TestName{"chunk_lat", "Chunk latency"},
    TestName{"chunk_bw", "Chunk bandwidth"},
    TestName{"allocate_send", "Allocate and send"},
    TestName{"fanout", "One to many"},
    TestName{"stream", "Stream"},
    TestName{"manytoone", "Many to one"},
    TestName{"sharded", "Chunks of several shards"},
    TestName{"d2h_send", "Send from GPU memory"},
    TestName{"scale_ids", "Latency against ids held"},
    TestName{"scale_waiting", "Latency against calls that wait"},
    TestName{"scale_peers", "Latency against peers"},
    TestName{"scale_arena", "Latency against the size of the arena"},
};

std::size_t place_of(const std::string& test) {
  return static_cast<std::size_t>(
      std::ranges::find_if(kTests, [&](const TestName& known) { return known.test == test; }) -
      kTests.begin());
}

std::string title_of(const std::string& test, const std::string& path) {
  const std::size_t place = place_of(test);
  return joined({place < kTests.size() ? kTests.at(place).title : test, path == "local" ? "same node"
                                                                        : path == "net" ? "between nodes"
                                                                                        : path});
}

std::string reference_name(const Measurement& m) { return m.reference ? m.reference->name : ""; }

std::string own_arguments(const Measurement& m, bool scaling) {
  const std::string x_name = m.x_name.empty() ? "x" : m.x_name;
  return joined({m.outstanding ? std::to_string(*m.outstanding) + " outstanding" : "", m.setup.settings,
                 m.x && !scaling ? short_label(*m.x) + " " + x_name : ""});
}

// What may set lines of one chart apart: first the arguments that are not the chart's axis, then the setup.
constexpr std::size_t kArguments = 3;
std::vector<std::string> traits(const Measurement& m, bool scaling) {
  const auto named = [](const char* name, const std::string& value) {
    return value.empty() ? std::string() : name + value;
  };
  return {scaling && m.size ? bytes_label(static_cast<double>(*m.size)) : std::string(),
          own_arguments(m, scaling),
          named("beside ", reference_name(m)),
          named("poll ", m.setup.poll),
          m.setup.transports,
          named("git ", m.setup.git),
          named("UCX ", m.setup.ucx),
          m.setup.cpu,
          m.setup.cores.empty() ? std::string() : m.setup.cores + " cores",
          named("Linux ", m.setup.kernel)};
}

std::vector<Variant> split(const std::vector<const Measurement*>& all, const Group& group) {
  std::map<std::vector<std::string>, std::vector<const Measurement*>> by_traits;
  for (const Measurement* m : all) by_traits[traits(*m, group.scaling)].push_back(m);
  std::vector<Variant> out;
  const std::vector<std::string>& first = by_traits.begin()->first;
  for (auto& [own, points] : by_traits) {
    std::vector<std::string> arguments, setup;
    for (std::size_t i = 0; i < own.size(); ++i) {
      const bool differs =
          std::ranges::any_of(by_traits, [&](const auto& other) { return other.first[i] != first[i]; });
      if (differs) (i < kArguments ? arguments : setup).push_back(own[i]);
    }
    Variant variant;
    variant.setup = joined(setup);
    arguments.push_back(variant.setup);
    variant.name = joined(arguments);
    std::ranges::sort(points, {}, [&](const Measurement* m) { return std::pair(group.x_of(*m), m); });
    variant.points = std::move(points);
    out.push_back(std::move(variant));
  }
  // As a person sorts: 4 outstanding before 16.
  std::ranges::sort(out, [](const Variant& a, const Variant& b) {
    const Measurement &x = *a.points.front(), &y = *b.points.front();
    return std::tie(x.outstanding, x.x, a.name) < std::tie(y.outstanding, y.x, b.name);
  });
  return out;
}

auto identity(const Measurement& m) {
  const Setup& s = m.setup;
  return std::tuple_cat(std::tie(m.test, m.path, m.size, m.outstanding, m.x_name, m.x, s.poll, s.settings,
                                 s.transports, s.git, s.ucx, s.cpu, s.cores, s.kernel),
                        std::make_tuple(reference_name(m)));
}

}  // namespace

std::vector<const Measurement*> Group::all() const {
  std::vector<const Measurement*> out;
  for (const Variant& variant : variants) out.insert(out.end(), variant.points.begin(), variant.points.end());
  return out;
}

std::optional<double> Group::x_of(const Measurement& measurement) const {
  if (scaling) return measurement.x;
  if (!measurement.size) return std::nullopt;
  return static_cast<double>(*measurement.size);
}

std::string arguments_of(const Group& group, const Measurement& m) {
  return joined(
      {group.scaling && m.x ? short_label(*m.x) + " " + group.x_title : "", own_arguments(m, group.scaling)});
}

std::string point_text(const Group& group, const Measurement& m) {
  return joined({m.size ? bytes_label(static_cast<double>(*m.size)) : "", arguments_of(group, m)});
}

std::vector<Group> group(const std::vector<Measurement>& measurements) {
  std::map<std::tuple<std::size_t, std::string, std::string>, std::vector<const Measurement*>> by_test;
  for (const Measurement& m : measurements) by_test[{place_of(m.test), m.test, m.path}].push_back(&m);
  std::vector<Group> out;
  for (const auto& [key, all] : by_test) {
    Group group;
    std::tie(std::ignore, group.test, group.path) = key;
    group.scaling = group.test.starts_with("scale_");
    group.title = title_of(group.test, group.path);
    group.x_title = "size";
    if (group.scaling) group.x_title = all.front()->x_name.empty() ? "x" : all.front()->x_name;
    group.variants = split(all, group);
    out.push_back(std::move(group));
  }
  return out;
}

std::size_t keep_newest(std::vector<Measurement>& measurements) {
  std::vector<Measurement*> order;
  for (Measurement& m : measurements) order.push_back(&m);
  std::ranges::sort(order, [](const Measurement* a, const Measurement* b) {
    if (identity(*a) != identity(*b)) return identity(*a) < identity(*b);
    return std::tie(a->time, a) > std::tie(b->time, b);  // of equal times the one that was read last
  });
  std::vector<Measurement> kept;
  for (Measurement* const m : order) {
    if (kept.empty() || identity(kept.back()) != identity(*m)) kept.push_back(std::move(*m));
  }
  const std::size_t dropped = measurements.size() - kept.size();
  measurements = std::move(kept);
  return dropped;
}

std::vector<SetupFact> setup_facts(const std::vector<Measurement>& measurements) {
  std::vector<SetupFact> facts;
  for (const char* const one : {"Commit", "CPU", "Cores", "Kernel", "UCX"}) facts.push_back({one, {}, true});
  for (const char* const any : {"Transports", "Poll mode", "Measured"}) facts.push_back({any, {}, false});
  std::string first_time, last_time;
  for (const Measurement& m : measurements) {
    const Setup& s = m.setup;
    const std::array own{&s.git, &s.cpu, &s.cores, &s.kernel, &s.ucx, &s.transports, &s.poll};
    for (std::size_t i = 0; i < own.size(); ++i) {
      std::vector<std::string>& values = facts[i].values;
      const std::string value = own.at(i)->empty() ? "not told" : *own.at(i);
      if (std::ranges::find(values, value) == values.end()) values.push_back(value);
    }
    if (m.time.empty()) continue;
    if (first_time.empty() || m.time < first_time) first_time = m.time;
    last_time = std::max(last_time, m.time);
  }
  facts.back().values = {first_time.empty()        ? "not told"
                         : first_time == last_time ? first_time
                                                   : first_time + " to " + last_time};
  return facts;
}

std::vector<std::string> setup_warnings(const std::vector<SetupFact>& facts) {
  std::vector<std::string> out;
  for (const SetupFact& fact : facts) {
    if (!fact.must_be_one || fact.values.size() < 2) continue;
    out.push_back("These results cannot be compared with each other: " + fact.name + " differs (" +
                  joined(fact.values) + ").");
  }
  return out;
}

}  // namespace sidecar::perf
