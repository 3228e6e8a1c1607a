// Products of narrow matrices, as the layers of a small network need them: a tile of rows that lies in the nearest cache
// times a matrix of few columns. Lanes run over columns, a block of sums stays in registers.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu_lanes.h"

namespace moegs {

// Rows of sums held in registers: two vectors each, beside two of the right factor.
constexpr int kProductRows = kWidth == 16 ? 8 : 4;

// The left factor: element (r, k) is at[r * row + k * step].
struct LeftFactor {
    const float *at;
    int64_t row, step;
};

MOEGS_INLINE NativeFloats load_native(const float *from) {
    NativeFloats r;
    std::memcpy(&r, from, sizeof(r));
    return r;
}
MOEGS_INLINE void store_native(float *to, const NativeFloats &v) { std::memcpy(to, &v, sizeof(v)); }

// R rows and V vectors of columns of to = start + left * right; `start` null: zero; `rectify`: what is negative becomes 0.
template <int R, int V>
MOEGS_INLINE void product_block(int64_t depth, const LeftFactor &left, const float *right, int64_t right_row,
                                const float *start, int64_t start_row, bool rectify, float *to, int64_t to_row) {
    NativeFloats sums[R][V];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v)
            sums[r][v] = start ? load_native(start + r * start_row + v * kWidth) : NativeFloats{};
    for (int64_t k = 0; k < depth; ++k) {
        NativeFloats row[V];
        for (int v = 0; v < V; ++v) row[v] = load_native(right + k * right_row + v * kWidth);
        for (int r = 0; r < R; ++r) {
            const float factor = left.at[r * left.row + k * left.step];
            for (int v = 0; v < V; ++v) sums[r][v] += factor * row[v];
        }
    }
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) {
            NativeFloats sum = sums[r][v];
            if (rectify) sum = sum > 0.0f ? sum : NativeFloats{};
            store_native(to + r * to_row + v * kWidth, sum);
        }
}

template <int R, int V>
MOEGS_INLINE void product_rows(int64_t &r, int64_t rows, int64_t depth, const LeftFactor &left, const float *right,
                               int64_t right_row, const float *start, int64_t start_row, bool rectify, float *to,
                               int64_t to_row) {
    for (; r + R <= rows; r += R)
        product_block<R, V>(depth, {left.at + r * left.row, left.row, left.step}, right, right_row,
                            start ? start + r * start_row : nullptr, start_row, rectify, to + r * to_row, to_row);
}

// to [rows, columns] = start + left [rows, depth] * right [depth, columns]; columns: a multiple of sixteen. `start` may be
// `to` itself (what is there is added to), or one row for all with start_row 0.
inline void product(int64_t rows, int64_t depth, int64_t columns, const LeftFactor &left, const float *right,
                    int64_t right_row, const float *start, int64_t start_row, bool rectify, float *to, int64_t to_row) {
    int64_t c = 0;
    for (; c + 2 * kWidth <= columns; c += 2 * kWidth) {
        const float *from = start ? start + c : nullptr;
        int64_t r = 0;
        product_rows<kProductRows, 2>(r, rows, depth, left, right + c, right_row, from, start_row, rectify, to + c, to_row);
        product_rows<2, 2>(r, rows, depth, left, right + c, right_row, from, start_row, rectify, to + c, to_row);
        product_rows<1, 2>(r, rows, depth, left, right + c, right_row, from, start_row, rectify, to + c, to_row);
    }
    for (; c < columns; c += kWidth) {
        const float *from = start ? start + c : nullptr;
        int64_t r = 0;
        product_rows<kProductRows, 1>(r, rows, depth, left, right + c, right_row, from, start_row, rectify, to + c, to_row);
        product_rows<1, 1>(r, rows, depth, left, right + c, right_row, from, start_row, rectify, to + c, to_row);
    }
}

// to [rows, outputs] = bias + values [rows, width] * weight [outputs, width]^T, for few outputs: lanes run over the width,
// a multiple of sixteen, and sixteen sums are finished at a time.
inline void thin_product(int64_t rows, int64_t width, int32_t outputs, const float *values, const float *weight,
                         const float *bias, float *to) {
    const int64_t total = rows * outputs;
    for (int64_t first = 0; first < total; first += kLanes) {
        const int used = int(total - first < kLanes ? total - first : kLanes);
        Floats sums[kLanes];
        for (int q = 0; q < kLanes; ++q) {
            sums[q] = Floats{};
            if (q >= used) continue;
            const float *a = values + (first + q) / outputs * width, *b = weight + (first + q) % outputs * width;
            for (int64_t k = 0; k < width; k += kLanes)
                for (int part = 0; part < kParts; ++part)
                    sums[q].part[part] += load_native(a + k + part * kWidth) * load_native(b + k + part * kWidth);
        }
        alignas(64) float out[kLanes];
        sum_lanes<kLanes>(sums, out);
        for (int q = 0; q < used; ++q) to[first + q] = bias[(first + q) % outputs] + out[lane_of_sum(q)];
    }
}

// to [columns] += the sum of `rows` rows; columns: a multiple of sixteen.
inline void add_rows(int64_t rows, int64_t columns, const float *values, float *to) {
    for (int64_t c = 0; c < columns; c += kWidth) {
        NativeFloats sum = load_native(to + c);
        for (int64_t r = 0; r < rows; ++r) sum += load_native(values + r * columns + c);
        store_native(to + c, sum);
    }
}

// values = 0 where `hidden`, a rectifier's output, is 0.
inline void mask_rectified(int64_t count, const float *hidden, float *values) {
    for (int64_t i = 0; i < count; i += kWidth) {
        const NativeFloats v = load_native(values + i);
        store_native(values + i, load_native(hidden + i) > 0.0f ? v : NativeFloats{});
    }
}

}  // namespace moegs
