// One step of Adam or rectified Adam over a table of numbers, in a single pass. The twins are torch's own optimizers.
#pragma once

#include <cmath>
#include <cstdint>

#include "cpu_parallel.h"
#include "splat_cpu.h"

namespace moegs {

constexpr int64_t kAdamBlock = 4096;  // numbers a thread takes at a time; a multiple of every vector's width

template <bool Rooted, bool Decaying>
void adam_range(const moegs_adam_tensor &t, const moegs_adam_numbers &n, int64_t begin, int64_t end) {
    float *__restrict__ value = t.value, *__restrict__ first = t.first, *__restrict__ second = t.second;
    const float *__restrict__ gradient = t.gradient;
    const float one_minus_1 = n.one_minus_beta1, beta2 = n.beta2, one_minus_2 = n.one_minus_beta2;
    const float decay = n.weight_decay, eps = n.eps, size = t.step_size, scale = t.root_scale;
    for (int64_t i = begin; i < end; ++i) {
        const float g = Decaying ? gradient[i] + decay * value[i] : gradient[i];
        const float m = first[i] + one_minus_1 * (g - first[i]);
        const float v = beta2 * second[i] + one_minus_2 * g * g;
        first[i] = m;
        second[i] = v;
        value[i] -= Rooted ? size * (m / (std::sqrt(v) * scale + eps)) : size * m;
    }
}

inline void adam_step(const moegs_adam_tensor &t, const moegs_adam_numbers &n, int threads) {
    const auto range = t.root_scale > 0 ? (n.weight_decay != 0 ? adam_range<true, true> : adam_range<true, false>)
                                        : (n.weight_decay != 0 ? adam_range<false, true> : adam_range<false, false>);
    const int64_t blocks = (t.count + kAdamBlock - 1) / kAdamBlock;
    // Few numbers are done sooner than other threads are woken.
    on_ranges(blocks, blocks < 4 ? 1 : threads, [&](int, int64_t begin, int64_t end) {
        range(t, n, begin * kAdamBlock, end * kAdamBlock < t.count ? end * kAdamBlock : t.count);
    });
}

}  // namespace moegs
