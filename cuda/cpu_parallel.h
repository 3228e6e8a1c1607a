// Work sharing for the kernels: numbered tasks, drawn one by one by the threads of an OpenMP team where the compiler has
// OpenMP, otherwise by a crew of threads of our own; by these also in forked children, and where waiting threads of
// OpenMP sleep. No result of the kernels depends on who runs which task.
//
// OpenMP comes first where its threads spin: torch keeps its team spinning for a while after each of its own operations,
// so in a team of the same runtime those threads are at hand at once, any other thread must first win a core from them.
// Where they sleep (OMP_WAIT_POLICY=passive), the crew is faster: nobody waits for a thread that has yet to wake up.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <strings.h>

#include "cpu_fork.h"
#if !defined(MOEGS_SERIAL)
#include "cpu_crew.h"
#endif

namespace moegs {

// Whether the user wants waiting threads of OpenMP to sleep. Asked once, at the first call; OpenMP asks when it is loaded,
// so set the variable before the process starts.
inline bool waiting_threads_sleep() {
    static const bool passive = [] {
        const char *policy = std::getenv("OMP_WAIT_POLICY");
        return policy != nullptr && strcasecmp(policy, "passive") == 0;
    }();
    return passive;
}

// 0 serial, 1 our own threads, 2 OpenMP.
inline int parallel_kind() {
#if defined(_OPENMP)
    return waiting_threads_sleep() ? 1 : 2;
#elif defined(MOEGS_SERIAL)
    return 0;
#else
    return 1;
#endif
}

// Runs body(task) for every task in [0, count), in no particular order, on at most `threads` threads. Running out of
// memory in any of them is thrown here.
template <class Body>
void on_tasks(int64_t count, int threads, const Body &body) {
    if (threads > count) threads = int(count);
#if defined(_OPENMP)
    if (threads > 1 && !in_forked_child() && !waiting_threads_sleep()) {
        std::atomic<int64_t> next{0};
        std::atomic<bool> out_of_memory{false};
#pragma omp parallel num_threads(threads)
        {
            try {
                for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;) body(task);
            } catch (const std::bad_alloc &) {  // no exception may leave a parallel region
                out_of_memory = true;
            }
        }
        if (out_of_memory) throw std::bad_alloc();
        return;
    }
#endif
#if !defined(MOEGS_SERIAL)
    if (threads > 1) {
        const auto run = [](const void *erased, int64_t task) { (*static_cast<const Body *>(erased))(task); };
        Crew::shared().run(std::make_shared<Job>(run, &body, count, threads - 1));
        return;
    }
#endif
    for (int64_t task = 0; task < count; ++task) body(task);
}

inline int64_t range_begin(int64_t count, int threads, int worker) { return count * worker / threads; }

// Splits [0, count) into `threads` contiguous ranges of nearly equal size and runs body(worker, begin, end) for each.
template <class Body>
void on_ranges(int64_t count, int threads, const Body &body) {
    on_tasks(threads, threads, [&](int64_t worker) {
        body(int(worker), range_begin(count, threads, int(worker)), range_begin(count, threads, int(worker) + 1));
    });
}

}  // namespace moegs
