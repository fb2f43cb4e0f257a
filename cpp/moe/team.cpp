#include "team.h"

#include <dlfcn.h>

#include <atomic>
#include <exception>
#include <mutex>

#include "../common/thread_pool.h"

namespace rlshare {
namespace {

// Runs a function with its argument on so many threads of the runtime; part of GNU's interface to
// compiled code.
using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);

struct Work {
  std::size_t n_tasks;
  const std::function<void(std::size_t)>& task;
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
};

void drain(void* data) {
  Work& work = *static_cast<Work*>(data);
  for (std::size_t i; (i = work.next.fetch_add(1)) < work.n_tasks;) {
    try {
      work.task(i);
    } catch (...) {  // carried to the caller's thread, never swallowed
      std::lock_guard<std::mutex> lock(work.mutex);
      if (!work.error) work.error = std::current_exception();
    }
  }
}

}  // namespace

void team_for(std::size_t n_tasks, std::size_t n_threads,
              const std::function<void(std::size_t)>& task) {
  static const auto parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  if (!parallel || n_threads < 2 || n_tasks < 2) return parallel_for(n_tasks, n_threads, task);
  Work work{n_tasks, task, {}, {}, {}};
  parallel(drain, &work, static_cast<unsigned>(n_threads), 0);
  if (work.error) std::rethrow_exception(work.error);
}

}  // namespace rlshare
