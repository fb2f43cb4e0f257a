#include "blocks.h"

#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace rlshare {
namespace {

constexpr std::size_t kCacheLine = 64, kHugePage = std::size_t{1} << 21;
constexpr std::size_t kKept = std::size_t{1} << 18;  // smaller blocks the C library reuses
// Bytes that wait to be used again, in each of many worker processes.
constexpr std::size_t kMostKept = std::size_t{64} << 20;

struct Waiting {
  std::mutex mutex;
  std::map<std::size_t, std::vector<void*>> by_size;
  std::size_t bytes = 0;
};

Waiting& waiting() {
  static Waiting* blocks = new Waiting;  // never destroyed: arrays may be released at exit
  return *blocks;
}

std::size_t bytes_of(std::size_t n) {
  const std::size_t bytes = (n ? n : 1) * sizeof(float);
  const std::size_t unit = bytes < kHugePage ? kCacheLine : kHugePage;
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

Block acquire_block(std::size_t n) {
  const std::size_t bytes = bytes_of(n);
  if (bytes >= kKept) {
    Waiting& kept = waiting();
    std::lock_guard<std::mutex> lock(kept.mutex);
    const auto found = kept.by_size.find(bytes);
    if (found != kept.by_size.end() && !found->second.empty()) {
      void* block = found->second.back();
      found->second.pop_back();
      kept.bytes -= bytes;
      return Block(static_cast<float*>(block), {n});
    }
  }
  void* block = std::aligned_alloc(bytes < kHugePage ? kCacheLine : kHugePage, bytes);
  if (!block) throw std::bad_alloc();
#if defined(__linux__)
  if (bytes >= kHugePage) madvise(block, bytes, MADV_HUGEPAGE);  // only advice: may be refused
#endif
  return Block(static_cast<float*>(block), {n});
}

float* grown(Block& block, std::size_t n) {
  if (!block || block.get_deleter().n < n) block = acquire_block(n);
  return block.get();
}

float* scratch(std::size_t n) {
  thread_local Block memory;
  return grown(memory, n);
}

void ReleaseBlock::operator()(float* block) const {
  const std::size_t bytes = bytes_of(n);
  if (bytes >= kKept) {
    Waiting& kept = waiting();
    std::lock_guard<std::mutex> lock(kept.mutex);
    if (kept.bytes + bytes <= kMostKept) {
      kept.by_size[bytes].push_back(block);
      kept.bytes += bytes;
      return;
    }
  }
  std::free(block);
}

}  // namespace rlshare
