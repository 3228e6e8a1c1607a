// Raw Gaussians plus changes, quaternions made unit; and the gradients of the raw values, activations included. The twin
// is experts/deformed_splats.py. Exponentials of the forward direction are torch's, which has them as vector code.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "splat_cpu.h"

namespace moegs {

constexpr int kQuaternionBlock = 64;  // stage by stage for so many: roots and divisions then are vector code

// change may be null.
inline void add_change(const float *__restrict__ raw, const float *__restrict__ change, int64_t begin, int64_t end,
                       float *__restrict__ sum) {
    if (!change)
        std::memcpy(sum + begin, raw + begin, size_t(end - begin) * sizeof(float));
    else
        for (int64_t i = begin; i < end; ++i) sum[i] = raw[i] + change[i];
}

// q: quaternions of any length, made unit in place.
inline void normalize_quaternions(int64_t begin, int64_t end, float *q, float *lengths) {
    for (int64_t first = begin; first < end; first += kQuaternionBlock) {
        const int count = int(std::min<int64_t>(kQuaternionBlock, end - first));
        float *__restrict__ block = q + 4 * first, *__restrict__ length = lengths + first;
        for (int j = 0; j < count; ++j) {
            const float *a = block + 4 * j;
            length[j] = std::max(std::sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2] + a[3] * a[3]), 1e-12f);
        }
        for (int j = 0; j < count; ++j)
            for (int d = 0; d < 4; ++d) block[4 * j + d] /= length[j];
    }
}

inline void normalize_quaternions_backward(int64_t begin, int64_t end, const float *units, const float *lengths,
                                           const float *v_units, float *v_q) {
    for (int64_t first = begin; first < end; first += kQuaternionBlock) {
        const int count = int(std::min<int64_t>(kQuaternionBlock, end - first));
        const float *__restrict__ unit = units + 4 * first, *__restrict__ v = v_units + 4 * first;
        const float *__restrict__ length = lengths + first;
        float *__restrict__ to = v_q + 4 * first;
        float along[kQuaternionBlock];
        for (int j = 0; j < count; ++j) {
            const float *a = unit + 4 * j, *b = v + 4 * j;
            along[j] = a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
        }
        for (int j = 0; j < count; ++j)
            for (int d = 0; d < 4; ++d) to[4 * j + d] = (v[4 * j + d] - unit[4 * j + d] * along[j]) / length[j];
    }
}

// Rows of 3 and of Rest floats side by side in rows of 3 + Rest, or apart again. Rest = -1: known only at run time.
template <int Rest>
void join_rows(const float *base, const float *rest, int any_rest, int64_t begin, int64_t end, float *joined) {
    const size_t tail = size_t(Rest >= 0 ? Rest : any_rest);
    for (int64_t i = begin; i < end; ++i) {
        float *row = joined + size_t(i) * (3 + tail);
        std::memcpy(row, base + 3 * i, 3 * sizeof(float));
        if (tail) std::memcpy(row + 3, rest + size_t(i) * tail, tail * sizeof(float));
    }
}
template <int Rest>
void part_rows(const float *joined, int any_rest, int64_t begin, int64_t end, float *base, float *rest) {
    const size_t tail = size_t(Rest >= 0 ? Rest : any_rest);
    for (int64_t i = begin; i < end; ++i) {
        const float *row = joined + size_t(i) * (3 + tail);
        std::memcpy(base + 3 * i, row, 3 * sizeof(float));
        if (tail) std::memcpy(rest + size_t(i) * tail, row + 3, tail * sizeof(float));
    }
}

inline void deformed_forward(const moegs_gaussians &raw, const moegs_changes &change, int bases, int64_t begin,
                             int64_t end, const moegs_deformed &to) {
    add_change(raw.means, change.means, 3 * begin, 3 * end, to.means);
    add_change(raw.quats, change.quats, 4 * begin, 4 * end, to.quats);
    add_change(raw.scales, change.scales, 3 * begin, 3 * end, to.scales);
    add_change(raw.opacities, change.opacities, begin, end, to.opacities);
    normalize_quaternions(begin, end, to.quats, to.lengths);
    const int rest = 3 * (bases - 1);
    const auto join = bases == 1 ? join_rows<0> : bases == 4 ? join_rows<9> : bases == 16 ? join_rows<45> : join_rows<-1>;
    join(raw.sh_base, raw.sh_rest, rest, begin, end, to.sh);
    if (change.sh)
        for (int64_t i = 3 * bases * begin; i < 3 * bases * end; ++i) to.sh[i] += change.sh[i];
}

inline void deformed_backward(const moegs_deformed &of, const moegs_changes &v, int bases, int64_t begin, int64_t end,
                              const moegs_raw_gradients &to) {
    normalize_quaternions_backward(begin, end, of.quats, of.lengths, v.quats, to.quats);
    {
        const float *__restrict__ scales = of.scales, *__restrict__ v_scales = v.scales;
        float *__restrict__ v_logs = to.scales;
        for (int64_t i = 3 * begin; i < 3 * end; ++i) v_logs[i] = v_scales[i] * scales[i];
        const float *__restrict__ opacities = of.opacities, *__restrict__ v_opacities = v.opacities;
        float *__restrict__ v_logits = to.opacities;
        for (int64_t i = begin; i < end; ++i) v_logits[i] = v_opacities[i] * ((1.0f - opacities[i]) * opacities[i]);
    }
    const int rest = 3 * (bases - 1);
    const auto part = bases == 1 ? part_rows<0> : bases == 4 ? part_rows<9> : bases == 16 ? part_rows<45> : part_rows<-1>;
    part(v.sh, rest, begin, end, to.sh_base, to.sh_rest);
}

}  // namespace moegs
