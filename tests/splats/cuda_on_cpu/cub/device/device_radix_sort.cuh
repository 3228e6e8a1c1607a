// CUB's sort as its documentation describes it: stable, by some bits of the key; without memory it says how much it needs.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include <cuda_runtime.h>

namespace cub {

struct DeviceRadixSort {
    template <typename Key, typename Value>
    static cudaError_t SortPairs(void *memory, size_t &bytes, const Key *keys, Key *sorted_keys, const Value *values,
                                 Value *sorted_values, int count, int first_bit, int end_bit, cudaStream_t) {
        const size_t needed = size_t(count) + 77;
        if (!memory) {
            bytes = needed;
            return cudaSuccess;
        }
        if (bytes < needed) return cudaErrorInvalidValue;
        memset(memory, 0xa5, needed);  // whoever gave too little, or needs what was there, will notice
        const uint64_t mask = (uint64_t(1) << (end_bit - first_bit)) - 1;
        std::vector<int> order(size_t(count), 0);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
            return ((uint64_t(keys[a]) >> first_bit) & mask) < ((uint64_t(keys[b]) >> first_bit) & mask);
        });
        for (int i = 0; i < count; ++i) {
            sorted_keys[i] = keys[order[size_t(i)]];
            sorted_values[i] = values[order[size_t(i)]];
        }
        return cudaSuccess;
    }
};

}  // namespace cub
