// Work sharing for the kernels: OpenMP where the compiler has it, otherwise threads of the standard library, otherwise
// serial. Both forms hand out tasks dynamically; no result of the kernels depends on who runs which task.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>

#if !defined(_OPENMP) && !defined(MOEGS_SERIAL)
#include <system_error>
#include <thread>
#include <vector>
#endif

namespace moegs {

#if defined(_OPENMP)
constexpr int kParallelKind = 2;
#elif defined(MOEGS_SERIAL)
constexpr int kParallelKind = 0;
#else
constexpr int kParallelKind = 1;
#endif

// Runs body(worker) on `threads` workers, worker in [0, threads). Running out of memory in any of them is thrown here.
template <class Body>
void on_each_worker(int threads, const Body &unguarded) {
    if (threads <= 1) {
        unguarded(0);
        return;
    }
    std::atomic<bool> out_of_memory{false};
    const auto body = [&](int worker) {  // no exception may leave a parallel region
        try {
            unguarded(worker);
        } catch (const std::bad_alloc &) {
            out_of_memory = true;
        }
    };
#if defined(_OPENMP)
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int worker = 0; worker < threads; ++worker) body(worker);
#elif defined(MOEGS_SERIAL)
    for (int worker = 0; worker < threads; ++worker) body(worker);
#else
    std::vector<std::thread> helpers;
    helpers.reserve(size_t(threads));
    int started = 1;
    try {
        for (; started < threads; ++started) helpers.emplace_back([&body, started] { body(started); });
    } catch (const std::system_error &) {  // no more threads to be had: their share is done here
    }
    body(0);
    for (int worker = started; worker < threads; ++worker) body(worker);
    for (std::thread &helper : helpers) helper.join();
#endif
    if (out_of_memory) throw std::bad_alloc();
}

inline int64_t range_begin(int64_t count, int threads, int worker) { return count * worker / threads; }

// Splits [0, count) into `threads` contiguous ranges of nearly equal size and runs body(worker, begin, end).
template <class Body>
void on_ranges(int64_t count, int threads, const Body &body) {
    on_each_worker(threads, [&](int worker) {
        body(worker, range_begin(count, threads, worker), range_begin(count, threads, worker + 1));
    });
}

// Runs body(task) for every task in [0, count), in no particular order.
template <class Body>
void on_tasks(int64_t count, int threads, const Body &body) {
    std::atomic<int64_t> next{0};
    on_each_worker(threads, [&](int) {
        for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;) body(task);
    });
}

}  // namespace moegs
