// One step of Adam or rectified Adam over tables of numbers, in a single pass. The twins are torch's own optimizers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cpu_memory.h"
#include "cpu_parallel.h"
#include "splat_cpu.h"

namespace moegs {

constexpr int64_t kAdamBlock = 4096;  // numbers a thread takes at a time; a multiple of every vector's width

template <bool Rooted, bool Decaying>
void adam_range(const moegs_adam_tensor &t, int64_t begin, int64_t end) {
    float *__restrict__ value = t.value, *__restrict__ first = t.first, *__restrict__ second = t.second;
    const float *__restrict__ gradient = t.gradient;
    const float one_minus_1 = t.one_minus_beta1, beta2 = t.beta2, one_minus_2 = t.one_minus_beta2;
    const float decay = t.weight_decay, eps = t.eps, size = t.step_size, scale = t.root_scale;
    for (int64_t i = begin; i < end; ++i) {
        const float g = Decaying ? gradient[i] + decay * value[i] : gradient[i];
        const float m = first[i] + one_minus_1 * (g - first[i]);
        const float v = beta2 * second[i] + one_minus_2 * g * g;
        first[i] = m;
        second[i] = v;
        value[i] -= Rooted ? size * (m / (std::sqrt(v) * scale + eps)) : size * m;
    }
}

inline void adam_block(const moegs_adam_tensor &t, int64_t block) {
    const auto range = t.root_scale > 0 ? (t.weight_decay != 0 ? adam_range<true, true> : adam_range<true, false>)
                                        : (t.weight_decay != 0 ? adam_range<false, true> : adam_range<false, false>);
    range(t, block * kAdamBlock, std::min(t.count, (block + 1) * kAdamBlock));
}

// Blocks of all tensors in one row, shared out: many tensors are small, and waking threads for each takes its time.
inline void adam_step(const moegs_adam_tensor *tensors, int32_t count, int threads) {
    Array<int64_t> starts{size_t(count) + 1};
    int64_t blocks = 0;
    for (int32_t i = 0; i < count; ++i) {
        starts.data()[i] = blocks;
        blocks += (tensors[i].count + kAdamBlock - 1) / kAdamBlock;
        *tensors[i].step += 1.0f;
    }
    starts.data()[count] = blocks;
    // Few numbers are done sooner than other threads are woken.
    on_ranges(blocks, blocks < 4 ? 1 : threads, [&](int, int64_t begin, int64_t end) {
        const int64_t *start = std::upper_bound(starts.data(), starts.data() + count + 1, begin) - 1;
        for (int64_t block = begin; block < end; ++block) {
            while (block >= start[1]) ++start;
            adam_block(tensors[start - starts.data()], block - *start);
        }
    });
}

}  // namespace moegs
