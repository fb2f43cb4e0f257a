#include "thread_pool.h"

#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

namespace rlshare {
namespace {

class Pool {
 public:
  explicit Pool(pid_t pid) : pid(pid) {}

  const pid_t pid;

  void run(std::size_t n_tasks, std::size_t n_threads,
           const std::function<void(std::size_t)>& task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (n_workers_ + 1 < n_threads) {
        std::thread(&Pool::work, this, n_workers_).detach();  // before counting it: may throw
        ++n_workers_;
      }
      task_ = &task;
      n_tasks_ = n_tasks;
      next_ = 0;
      n_wanted_ = n_threads - 1;
      n_running_ = n_wanted_;
      error_ = nullptr;
      ++round_;
    }
    wake_.notify_all();
    drain();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return n_running_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

  std::mutex in_use;

 private:
  void work(std::size_t id) {
    std::size_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return round_ != seen && id < n_wanted_; });
      seen = round_;
      lock.unlock();
      drain();
      lock.lock();
      if (--n_running_ == 0) done_.notify_one();
    }
  }

  void drain() {
    for (std::size_t i; (i = next_.fetch_add(1)) < n_tasks_;) {
      try {
        (*task_)(i);
      } catch (...) {  // carried to the caller's thread, never swallowed
        std::lock_guard<std::mutex> lock(mutex_);
        if (!error_) error_ = std::current_exception();
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(std::size_t)>* task_ = nullptr;
  std::size_t n_tasks_ = 0, n_workers_ = 0, n_wanted_ = 0, n_running_ = 0, round_ = 0;
  std::atomic<std::size_t> next_{0};
  std::exception_ptr error_;
};

// A forked child has none of its parent's threads and may have inherited a locked mutex: it gets a
// pool of its own. Pools are never destroyed, so that no thread outlives what it waits on.
Pool& pool() {
  static std::atomic<Pool*> current{nullptr};
  const pid_t pid = getpid();
  Pool* p = current.load();
  while (!p || p->pid != pid) {
    Pool* fresh = new Pool(pid);
    if (current.compare_exchange_strong(p, fresh)) return *fresh;
    delete fresh;
  }
  return *p;
}

}  // namespace

std::size_t available_threads() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return static_cast<std::size_t>(CPU_COUNT(&set));
#endif
  const unsigned n = std::thread::hardware_concurrency();
  return n ? n : 1;
}

void parallel_for(std::size_t n_tasks, std::size_t n_threads,
                  const std::function<void(std::size_t)>& task) {
  n_threads = n_threads < n_tasks ? n_threads : n_tasks;
  if (n_threads > 1) {
    Pool& shared = pool();
    std::unique_lock<std::mutex> lock(shared.in_use, std::try_to_lock);
    if (lock.owns_lock()) return shared.run(n_tasks, n_threads, task);
  }
  for (std::size_t i = 0; i < n_tasks; ++i) task(i);
}

}  // namespace rlshare
