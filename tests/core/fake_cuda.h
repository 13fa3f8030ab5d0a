// CUDA for tests: several GPUs whose memory is plain memory and whose work is done only when the test says
// so. Counts what was made and not given back, makes any call fail, and fails the test when the default
// stream is used, something is used that was closed, or a handle is opened twice at a time.
//
// Thread-safe, as the real one.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/cuda_api.h"

namespace sidecar {

class FakeCuda : public CudaApi {
 public:
  explicit FakeCuda(int devices = 2);
  ~FakeCuda() override;

  // --- the test's side
  // -------------------------------------------------------------------------------------------------
  // Memory of another process on that GPU, and the handle to open it by.
  CudaIpcHandle foreign_memory(int device, std::vector<std::byte> content);
  // The same process has freed that and got this, at the same address: they cannot both be open.
  CudaIpcHandle foreign_memory_instead(const CudaIpcHandle& freed, std::vector<std::byte> content);
  // An event of another process, not done until the test says so.
  CudaIpcHandle foreign_event(int device);
  void finish(const CudaIpcHandle& event);
  // What is read of it from now on fails: its process died. Opening fails, too.
  void kill_owner(const CudaIpcHandle& handle);
  [[nodiscard]] DeviceSource source(int device, const CudaIpcHandle& memory, std::uint64_t offset = 0) const;

  // Work goes on by itself as soon as it is asked for; else only with run().
  void set_automatic(bool automatic);
  // Does the next `count` pieces of work of that GPU's stream. Returns how many there were.
  std::size_t run(int device, std::size_t count = 1);
  [[nodiscard]] std::size_t queued(int device) const;

  // The `n`th call from now on fails (1: the next one), once. 0: none.
  void fail_call(std::uint64_t n);
  // From now on each call of that name does.
  void fail_always(const std::string& name);
  [[nodiscard]] std::string failed_call() const;  // the name of the last call that was made to fail
  [[nodiscard]] std::uint64_t calls() const;
  [[nodiscard]] std::uint64_t calls(const std::string& name) const;

  // What exists at the moment.
  struct Live {
    std::size_t memory = 0;
    std::size_t events = 0;
    std::size_t streams = 0;
    std::size_t registrations = 0;
    std::size_t host = 0;
    friend bool operator==(const Live&, const Live&) = default;
  };
  [[nodiscard]] Live live() const;
  [[nodiscard]] std::size_t most_open() const;  // allocations of other processes, at any time
  void set_numa_node(int device, int node);

  // --- CudaApi
  // ---------------------------------------------------------------------------------------------------------
  [[nodiscard]] int devices() const override { return static_cast<int>(devices_.size()); }
  [[nodiscard]] const CudaDevice& device(int device) const override { return facts_.at(index(device)); }
  Result<CudaPointer> pointer(const void* pointer) override;
  Result<CudaIpcHandle> export_memory(int device, CudaAddress address) override;
  Result<CudaRange> open_memory(int device, const CudaIpcHandle& handle) override;
  Status close_memory(int device, CudaAddress address) override;
  Result<CudaEvent> create_event(int device, bool shared) override;
  Result<CudaIpcHandle> export_event(int device, CudaEvent event) override;
  Result<CudaEvent> open_event(int device, const CudaIpcHandle& handle) override;
  Status destroy_event(int device, CudaEvent event) override;
  Status record_event(int device, CudaEvent event, CudaStream stream) override;
  Result<bool> event_done(int device, CudaEvent event) override;
  Result<CudaStream> create_stream(int device) override;
  Status destroy_stream(int device, CudaStream stream) override;
  Status wait_event(int device, CudaStream stream, CudaEvent event) override;
  Status synchronize(int device, CudaStream stream) override;
  Status copy_to_host(int device, void* to, CudaAddress from, std::uint64_t bytes,
                      CudaStream stream) override;
  Status copy_to_device(int device, CudaAddress to, const void* from, std::uint64_t bytes,
                        CudaStream stream) override;
  Status register_host(int device, void* data, std::uint64_t bytes, bool read_only) override;
  Status unregister_host(int device, void* data) override;
  Result<void*> allocate_host(int device, std::uint64_t bytes) override;
  Status free_host(int device, void* data) override;
  Result<CudaAddress> allocate(int device, std::uint64_t bytes) override;
  Status free(int device, CudaAddress address) override;
  Status fill(int device, CudaAddress to, std::uint8_t value, std::uint64_t bytes,
              CudaStream stream) override;

 private:
  struct Memory {  // another process's
    int device = 0;
    std::vector<std::byte> content;
    bool dead = false;
    bool open = false;
    Memory* instead_of = nullptr;
  };
  struct ForeignEvent {
    int device = 0;
    bool done = false;
    bool dead = false;
  };
  struct Event {
    int device = 0;
    std::shared_ptr<ForeignEvent> foreign;  // opened, or
    bool done = true;                       // ours: all work before its last record is done
    bool failed = false;
  };
  struct Work {
    enum class What : std::uint8_t { kCopy, kRecord, kFill } what = What::kCopy;
    std::byte* to = nullptr;
    const std::byte* from = nullptr;
    std::uint64_t bytes = 0;
    std::uint8_t value = 0;
    CudaEvent event{};
    Memory* memory = nullptr;  // that it reads
  };
  struct Gpu {
    std::map<std::uintptr_t, bool> streams;  // by number: whether a copy in it has failed
    std::deque<std::pair<std::uintptr_t, Work>> work;
  };

  static std::size_t index(int device) { return static_cast<std::size_t>(device); }
  Status enter(const char* name);
  bool check_stream(int device, CudaStream stream);
  void add(int device, CudaStream stream, const Work& work);
  void do_one(Gpu& gpu);
  Memory* memory_at(int device, CudaAddress address, std::uint64_t bytes);
  CudaIpcHandle new_handle();

  mutable std::mutex mutex_;
  std::vector<Gpu> devices_;
  std::vector<CudaDevice> facts_;
  std::map<CudaIpcHandle, std::unique_ptr<Memory>> memory_;
  std::map<CudaIpcHandle, std::shared_ptr<ForeignEvent>> foreign_events_;
  std::map<std::uintptr_t, Event> events_;
  std::map<void*, std::uint64_t> registered_;
  std::map<void*, std::unique_ptr<std::byte[]>> host_;
  std::map<std::string, std::uint64_t> calls_;
  std::uint64_t all_calls_ = 0;
  std::uint64_t fail_at_ = 0;
  std::string fail_always_;
  std::string failed_call_;
  std::uintptr_t next_number_ = 1;
  std::size_t most_open_ = 0;
  bool automatic_ = true;
};

}  // namespace sidecar
