// CUB's sum as its documentation describes it; without memory it says how much it needs.
#pragma once

#include <numeric>

#include <cuda_runtime.h>

namespace cub {

struct DeviceScan {
    template <typename Value>
    static cudaError_t InclusiveSum(void *memory, size_t &bytes, const Value *values, Value *sums, int count,
                                    cudaStream_t) {
        const size_t needed = 33;
        if (!memory) {
            bytes = needed;
            return cudaSuccess;
        }
        if (bytes < needed) return cudaErrorInvalidValue;
        memset(memory, 0x5a, needed);
        std::partial_sum(values, values + count, sums);
        return cudaSuccess;
    }
};

}  // namespace cub
