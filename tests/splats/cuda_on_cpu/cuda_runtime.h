// Just enough of CUDA to run the kernels of cuda/mixture_cuda.cu on a CPU, one block after the other.
//
// Threads of a block are fibers that take turns at barriers, forwards in one turn and backwards in the next, so that what
// needs a barrier and has none shows. A block some of whose threads end while others wait at a barrier aborts. What only
// hardware can show stays untested: fast arithmetic, memory ordering within a turn, limits of the device.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(threads)

typedef int cudaError_t;
typedef struct emulated_stream *cudaStream_t;
enum { cudaSuccess = 0, cudaErrorInvalidValue = 1 };

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

inline dim3 threadIdx, blockIdx;

namespace emulated {

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool finished;
};

inline ucontext_t scheduler;
inline Fiber *running;
inline void (*body)(void *);
inline void *body_arguments;
inline int voters, votes;  // of the barrier that is being reached, and of the one that was

inline void run_fiber() {
    body(body_arguments);
    running->finished = true;
    swapcontext(&running->context, &scheduler);
}

inline void wait_at_barrier() {
    Fiber *const self = running;
    swapcontext(&self->context, &scheduler);
}

// Lets every thread of a block go on to its next barrier or its end; returns how many have ended.
inline size_t take_turns(std::vector<Fiber> &fibers, bool backwards) {
    size_t finished = 0;
    voters = 0;
    for (size_t turn = 0; turn < fibers.size(); ++turn) {
        const size_t thread = backwards ? fibers.size() - 1 - turn : turn;
        running = &fibers[thread];
        threadIdx = dim3(unsigned(thread));
        swapcontext(&scheduler, &running->context);
        finished += running->finished;
    }
    votes = voters;
    return finished;
}

inline void run_block(std::vector<Fiber> &fibers, unsigned parity) {
    for (Fiber &fiber : fibers) {
        getcontext(&fiber.context);
        fiber.stack.resize(1 << 16);
        fiber.finished = false;
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, run_fiber, 0);
    }
    for (unsigned round = parity;; ++round) {
        const size_t finished = take_turns(fibers, round % 2);
        if (finished == fibers.size()) return;
        if (finished > 0) {
            fprintf(stderr, "%zu of %zu threads of a block end where others wait\n", finished, fibers.size());
            abort();
        }
    }
}

}  // namespace emulated

inline void __syncthreads() { emulated::wait_at_barrier(); }
inline int __syncthreads_count(int predicate) {
    emulated::voters += predicate != 0;
    emulated::wait_at_barrier();
    return emulated::votes;
}
inline unsigned long long atomicAdd(unsigned long long *address, unsigned long long value) {
    const unsigned long long before = *address;
    *address += value;
    return before;
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
    auto call = [&] { kernel(arguments...); };
    emulated::body = [](void *erased) { (*static_cast<decltype(call) *>(erased))(); };
    emulated::body_arguments = &call;
    std::vector<emulated::Fiber> fibers(config->blockDim.x);
    for (unsigned y = 0; y < config->gridDim.y; ++y)
        for (unsigned x = 0; x < config->gridDim.x; ++x) {
            blockIdx = dim3(x, y);
            emulated::run_block(fibers, x + y);
        }
    return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t) {
    memset(memory, value, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }
inline const char *cudaGetErrorString(cudaError_t) { return "invalid device ordinal"; }
