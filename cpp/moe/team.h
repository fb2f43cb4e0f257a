// The threads of torch, where its OpenMP runtime is GNU's: a second pool beside it would share the
// cores with its threads, which spin for a while after each of torch's operations.
#pragma once

#include <cstddef>
#include <functional>

namespace rlshare {

// As parallel_for, on torch's threads, or on the library's own where torch's cannot be reached.
void team_for(std::size_t n_tasks, std::size_t n_threads,
              const std::function<void(std::size_t)>& task);

}  // namespace rlshare
