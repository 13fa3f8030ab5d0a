#include "perf/demo/tensors.h"

#include <cmath>
#include <cstdint>
#include <fstream>
#include <span>

#include "client/npy.h"

namespace sidecar::demo {
namespace {

// What a transformer adds to its embeddings: sines and cosines of many wavelengths.
std::vector<float> positions(std::uint64_t rows, std::uint64_t hidden) {
  std::vector<double> frequencies(hidden / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(hidden));
  }
  std::vector<float> values;
  values.reserve(rows * hidden);
  for (std::uint64_t row = 0; row < rows; ++row) {
    for (const double frequency : frequencies) {
      values.push_back(static_cast<float>(std::sin(static_cast<double>(row) * frequency)));
      values.push_back(static_cast<float>(std::cos(static_cast<double>(row) * frequency)));
    }
  }
  return values;
}

std::vector<std::int64_t> primes(std::size_t count) {
  // The n-th prime is below n (ln n + ln ln n) for n of at least 6.
  const auto n = static_cast<double>(count);
  const auto limit = static_cast<std::size_t>(n * (std::log(n) + std::log(std::log(n)))) + 1;
  std::vector<bool> composite(limit);
  std::vector<std::int64_t> values;
  values.reserve(count);
  for (std::size_t i = 2; values.size() < count; ++i) {
    if (composite[i]) continue;
    values.push_back(static_cast<std::int64_t>(i));
    for (std::size_t multiple = i * i; multiple < limit; multiple += i) composite[multiple] = true;
  }
  return values;
}

// How many steps z = z^2 + c takes to leave the circle: the Mandelbrot set.
std::vector<std::uint16_t> mandelbrot(std::uint64_t height, std::uint64_t width) {
  constexpr std::uint16_t kStepsMax = 64;
  std::vector<std::uint16_t> values;
  values.reserve(height * width);
  for (std::uint64_t y = 0; y < height; ++y) {
    for (std::uint64_t x = 0; x < width; ++x) {
      const double cr = -2.2 + 3.2 * static_cast<double>(x) / static_cast<double>(width);
      const double ci = -1.2 + 2.4 * static_cast<double>(y) / static_cast<double>(height);
      double re = 0;
      double im = 0;
      std::uint16_t steps = 0;
      while (steps < kStepsMax && re * re + im * im <= 4) {
        const double next = re * re - im * im + cr;
        im = 2 * re * im + ci;
        re = next;
        ++steps;
      }
      values.push_back(steps);
    }
  }
  return values;
}

template <class T>
Expected<std::string> write(const std::string& path, const npy::Header& header,
                            const std::vector<T>& values) {
  const std::string head = npy::format(header);
  const auto bytes = std::as_bytes(std::span(values));
  std::ofstream file(path, std::ios::binary);
  file.write(head.data(), static_cast<std::streamsize>(head.size()));
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) return Failure{Errc::kIo, kNoRank, "cannot write " + path};
  return path;
}

}  // namespace

Expected<std::vector<std::string>> write_tensors(const std::string& folder) {
  const Expected<std::string> written[] = {
      write(folder + "/positions.npy", {Dtype::kF32, {1024, 1024}}, positions(1024, 1024)),
      write(folder + "/primes.npy", {Dtype::kI64, {500, 1000}}, primes(500 * 1000)),
      write(folder + "/mandelbrot.npy", {Dtype::kU16, {1200, 1600}}, mandelbrot(1200, 1600)),
  };
  std::vector<std::string> paths;
  for (const auto& path : written) {
    if (!path) return path.error();
    paths.push_back(*path);
  }
  return paths;
}

}  // namespace sidecar::demo
