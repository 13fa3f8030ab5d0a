// Measurements as the report shows them: those of one test and path together, and in there those that differ
// in size only as one line of a chart.
#pragma once

#include <string>
#include <vector>

#include "perf/report/report_model.h"

namespace sidecar::perf {

struct Variant {
  // What sets it apart from the group's others, "4 outstanding, poll busy", and how much of that is about the
  // setup. Empty: nothing does.
  std::string name, setup;
  std::vector<const Measurement*> points;  // by x
};

struct Group {
  std::string test, path;
  bool scaling = false;  // x is Measurement::x, otherwise the size
  std::string title;     // "Chunk bandwidth, between nodes"
  std::string x_title;
  std::vector<Variant> variants;
  [[nodiscard]] std::vector<const Measurement*> all() const;
  [[nodiscard]] std::optional<double> x_of(const Measurement& measurement) const;
};

// Well-known tests first, in the order in which they explain each other. The groups point into
// `measurements`.
std::vector<Group> group(const std::vector<Measurement>& measurements);

// Of the same test with the same arguments on the same machine and commit, the newest; how many were dropped.
std::size_t keep_newest(std::vector<Measurement>& measurements);

// The arguments besides the size: "4 outstanding"; of a scaling test also x.
std::string arguments_of(const Group& group, const Measurement& measurement);
// The same with the size in front.
std::string point_text(const Group& group, const Measurement& measurement);

// What all of them were measured on: a name, and each value that occurs.
struct SetupFact {
  std::string name;
  std::vector<std::string> values;
  // Measurements that differ in this one cannot be compared. Transports and poll mode differ by intent.
  bool must_be_one = false;
};
std::vector<SetupFact> setup_facts(const std::vector<Measurement>& measurements);
std::vector<std::string> setup_warnings(const std::vector<SetupFact>& facts);

}  // namespace sidecar::perf
