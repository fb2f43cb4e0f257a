// A small pool of the library's own. Work is cut into tasks whose results do not depend on which
// thread runs them, so the number of threads never changes a result.
#pragma once

#include <cstddef>
#include <functional>

namespace rlshare {

// Cores this process may run on.
std::size_t available_threads();

// Runs task(i) for i in [0, n_tasks) on at most n_threads threads, the caller's among them.
// Where another call holds the pool, or in a pool that a fork left without threads, it still runs.
void parallel_for(std::size_t n_tasks, std::size_t n_threads,
                  const std::function<void(std::size_t)>& task);

}  // namespace rlshare
