// Raw Gaussians plus changes, quaternions made unit; and the gradients of the raw values, activations included. The twin
// is experts/deformed_splats.py. Exponentials of the forward direction are torch's, which has them as vector code.
//
// Where only some Gaussians are wanted, `rows` (else null) says where they stand among the raw ones, ascending.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "splat_cpu.h"

namespace moegs {

constexpr int kQuaternionBlock = 64;  // stage by stage for so many: roots and divisions then are vector code

// change may be null.
template <int Columns>
void add_change(const float *raw, const float *change, const int64_t *rows, int64_t begin, int64_t end, float *sum) {
    if (rows)
        for (int64_t i = begin; i < end; ++i)
            std::memcpy(sum + Columns * i, raw + Columns * rows[i], Columns * sizeof(float));
    else if (begin < end)
        std::memcpy(sum + Columns * begin, raw + Columns * begin, size_t(Columns * (end - begin)) * sizeof(float));
    if (!change) return;
    const float *__restrict__ added = change;
    float *__restrict__ to = sum;
    for (int64_t i = Columns * begin; i < Columns * end; ++i) to[i] += added[i];
}

// The reverse: gradients of some Gaussians where these stand among `total`, zeros before, between and behind them.
template <int Columns>
void put_rows(const float *some, const int64_t *rows, int64_t count, int64_t total, int64_t begin, int64_t end,
              float *all) {
    for (int64_t i = begin; i < end; ++i) {
        const int64_t before = i ? rows[i - 1] + 1 : 0;
        std::memset(all + Columns * before, 0, size_t(Columns * (rows[i] - before)) * sizeof(float));
        std::memcpy(all + Columns * rows[i], some + Columns * i, Columns * sizeof(float));
    }
    if (end == count && begin < end) {
        const int64_t behind = rows[count - 1] + 1;
        std::memset(all + Columns * behind, 0, size_t(Columns * (total - behind)) * sizeof(float));
    }
}

inline bool ascending_rows(const int64_t *rows, int64_t count, int64_t total) {
    int64_t last = -1;
    bool good = true;
    for (int64_t i = 0; i < count; ++i) {
        good &= rows[i] > last;
        last = rows[i];
    }
    return good && last < total;
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
void join_rows(const float *base, const float *rest, int any_rest, const int64_t *rows, int64_t begin, int64_t end,
               float *joined) {
    const size_t tail = size_t(Rest >= 0 ? Rest : any_rest);
    for (int64_t i = begin; i < end; ++i) {
        float *row = joined + size_t(i) * (3 + tail);
        const int64_t from = rows ? rows[i] : i;
        std::memcpy(row, base + 3 * from, 3 * sizeof(float));
        if (tail) std::memcpy(row + 3, rest + size_t(from) * tail, tail * sizeof(float));
    }
}
template <int Rest>
void part_rows(const float *joined, int any_rest, const int64_t *rows, int64_t count, int64_t total, int64_t begin,
               int64_t end, float *base, float *rest) {
    const size_t tail = size_t(Rest >= 0 ? Rest : any_rest);
    const auto clear = [&](int64_t first, int64_t last) {
        std::memset(base + 3 * first, 0, size_t(3 * (last - first)) * sizeof(float));
        if (tail) std::memset(rest + size_t(first) * tail, 0, size_t(last - first) * tail * sizeof(float));
    };
    for (int64_t i = begin; i < end; ++i) {
        const float *row = joined + size_t(i) * (3 + tail);
        const int64_t to = rows ? rows[i] : i;
        if (rows) clear(i ? rows[i - 1] + 1 : 0, to);
        std::memcpy(base + 3 * to, row, 3 * sizeof(float));
        if (tail) std::memcpy(rest + size_t(to) * tail, row + 3, tail * sizeof(float));
    }
    if (rows && end == count && begin < end) clear(rows[count - 1] + 1, total);
}

inline void deformed_forward(const moegs_gaussians &raw, const moegs_changes &change, int bases, int64_t begin,
                             int64_t end, const moegs_deformed &to) {
    add_change<3>(raw.means, change.means, raw.rows, begin, end, to.means);
    add_change<4>(raw.quats, change.quats, raw.rows, begin, end, to.quats);
    add_change<3>(raw.scales, change.scales, raw.rows, begin, end, to.scales);
    add_change<1>(raw.opacities, change.opacities, raw.rows, begin, end, to.opacities);
    normalize_quaternions(begin, end, to.quats, to.lengths);
    const int rest = 3 * (bases - 1);
    const auto join = bases == 1 ? join_rows<0> : bases == 4 ? join_rows<9> : bases == 16 ? join_rows<45> : join_rows<-1>;
    join(raw.sh_base, raw.sh_rest, rest, raw.rows, begin, end, to.sh);
    if (change.sh)
        for (int64_t i = 3 * bases * begin; i < 3 * bases * end; ++i) to.sh[i] += change.sh[i];
}

// own: gradients of the values before activation; to: those of the raw values, where `rows` are only some of them.
inline void deformed_backward(const moegs_deformed &of, const moegs_changes &v, int bases, int64_t count, int64_t begin,
                              int64_t end, const moegs_raw_gradients &own, const moegs_all_gradients &to) {
    normalize_quaternions_backward(begin, end, of.quats, of.lengths, v.quats, own.quats);
    {
        const float *__restrict__ scales = of.scales, *__restrict__ v_scales = v.scales;
        float *__restrict__ v_logs = own.scales;
        for (int64_t i = 3 * begin; i < 3 * end; ++i) v_logs[i] = v_scales[i] * scales[i];
        const float *__restrict__ opacities = of.opacities, *__restrict__ v_opacities = v.opacities;
        float *__restrict__ v_logits = own.opacities;
        for (int64_t i = begin; i < end; ++i) v_logits[i] = v_opacities[i] * ((1.0f - opacities[i]) * opacities[i]);
    }
    const int rest = 3 * (bases - 1);
    const auto part = bases == 1 ? part_rows<0> : bases == 4 ? part_rows<9> : bases == 16 ? part_rows<45> : part_rows<-1>;
    part(v.sh, rest, to.rows, count, to.total, begin, end, own.sh_base, own.sh_rest);
    if (!to.rows) return;
    put_rows<3>(v.means, to.rows, count, to.total, begin, end, to.means);
    put_rows<4>(own.quats, to.rows, count, to.total, begin, end, to.quats);
    put_rows<3>(own.scales, to.rows, count, to.total, begin, end, to.scales);
    put_rows<1>(own.opacities, to.rows, count, to.total, begin, end, to.opacities);
}

}  // namespace moegs
