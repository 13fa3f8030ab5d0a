#include "am_protocol/codec.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <set>

#include "tests/am_protocol/describe.h"
#include "tests/am_protocol/samples.h"

namespace {
std::size_t allocations = 0;  // of this process, ever
}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace sidecar {
namespace {

using Header = std::array<std::byte, kHeaderBytesMax>;

TEST(Codec, SamplesCoverEveryMessage) {
  std::set<std::size_t> kinds;
  for (const Sample& sample : samples()) kinds.insert(sample.message.index());
  EXPECT_EQ(kinds.size(), std::variant_size_v<Message>);
}

TEST(Codec, EveryMessageComesBackAsItWas) {
  Encoder encoder;
  Header header;
  for (const Sample& sample : samples()) {
    const std::size_t size = encoder.encode(sample.message, header);
    Message out;
    const Status status = decode(std::span(header).first(size), sample.payload_bytes, out);
    ASSERT_TRUE(status) << sample.name << ": " << to_string(status.error());
    EXPECT_EQ(describe(out), describe(sample.message)) << sample.name;
  }
}

TEST(Codec, FieldsOfAnEarlierMessageDoNotShowThrough) {
  // Each message is decoded over each other one of its kind, the largest among them.
  Encoder encoder;
  Header header;
  const std::vector<Sample> all = samples();
  for (const Sample& before : all) {
    for (const Sample& sample : all) {
      if (before.message.index() != sample.message.index()) continue;
      const std::size_t size = encoder.encode(sample.message, header);
      Message out = before.message;
      ASSERT_TRUE(decode(std::span(header).first(size), sample.payload_bytes, out)) << sample.name;
      EXPECT_EQ(describe(out), describe(sample.message)) << sample.name << " over " << before.name;
    }
  }
}

TEST(Codec, AHeaderMayLieAtAnyAddress) {
  Encoder encoder;
  Header header;
  alignas(16) std::array<std::byte, kHeaderBytesMax + 8> shifted;
  for (const Sample& sample : samples()) {
    const std::size_t size = encoder.encode(sample.message, header);
    for (std::size_t offset = 0; offset < 8; ++offset) {
      std::memcpy(shifted.data() + offset, header.data(), size);
      Message out;
      ASSERT_TRUE(decode({shifted.data() + offset, size}, sample.payload_bytes, out))
          << sample.name << offset;
      EXPECT_EQ(describe(out), describe(sample.message)) << sample.name << " at offset " << offset;
    }
  }
}

TEST(Codec, TheLargestMessagesFitInAHeader) {
  Encoder encoder;
  Header header;
  EXPECT_LE(encoder.encode(largest_send(), header), kHeaderBytesMax - 256);  // room for fields to come
  EXPECT_LE(encoder.encode(largest_reply(), header), kHeaderBytesMax - 256);
}

TEST(Codec, ATypicalHeaderIsSmall) {
  Encoder encoder;
  Header header;
  for (const Sample& sample : samples()) {
    if (sample.name == "chunk_payload") {
      EXPECT_LE(encoder.encode(sample.message, header), 256u);
    }
  }
}

TEST(Codec, NothingIsAllocated) {
  const std::vector<Sample> all = samples();
  Encoder encoder;
  Header header;
  Message out;
  encoder.encode(all.front().message, header);
  const std::size_t before = allocations;
  ASSERT_GT(before, 0u);
  bool ok = true;
  for (int round = 0; round < 3; ++round) {
    for (const Sample& sample : all) {
      const std::size_t size = encoder.encode(sample.message, header);
      ok = ok && decode(std::span(header).first(size), sample.payload_bytes, out).has_value();
      ok = ok && !decode(std::span(header).first(size - 4), sample.payload_bytes + 1, out).has_value();
    }
  }
  EXPECT_EQ(allocations, before);
  EXPECT_TRUE(ok);
}

TEST(Codec, WhatIsToBeAnsweredIsTold) {
  EXPECT_EQ(request_of(Recv{7, DataId("x"), 0, 0, false}), RequestId{7});
  EXPECT_EQ(request_of(MarkDone{8, DataId("x"), 0}), RequestId{8});
  EXPECT_EQ(request_of(Cancel{9}), std::nullopt);
  EXPECT_EQ(request_of(largest_reply()), std::nullopt);
  EXPECT_EQ(request_of(Refuse{9}), std::nullopt);
  EXPECT_EQ(transfer_of(Unlink{{7, 6}, 5})->sequence, 7u);
  EXPECT_EQ(transfer_of(Ack{}), std::nullopt);
}

TEST(CodecDeathTest, CountsBeyondAMessagesArraysAreABug) {
  Encoder encoder;
  Header header;
  Send send = largest_send();
  send.inline_bytes = kInlineBytesMax + 1;
  EXPECT_DEATH(encoder.encode(send, header), "CHECK failed");
  Release release;
  release.views = kReleasesMax + 1;
  EXPECT_DEATH(encoder.encode(release, header), "CHECK failed");
}

}  // namespace
}  // namespace sidecar
