// A network with a shared linear trunk and one head per output: y_h = V_h relu(W_h relu(T x + t) + w_h) + v_h, and its
// gradients. The twin is evaluate_torch of experts/fields/deformation.py.
//
// Rows are worked through in tiles that stay in the nearest cache from the first layer to the last, and back. What the
// rectifiers let through is kept for the way back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu_memory.h"
#include "cpu_parallel.h"
#include "cpu_products.h"
#include "splat_cpu.h"

namespace moegs {

constexpr int64_t kHeadTile = 64;
// Parts of all rows whose gradients of the parameters are added up one by one, then in their order: the sums are the same
// for any number of threads.
constexpr int64_t kHeadParts = 16;

// Parameters of one head: weight [width, width] and bias of the hidden layer, weight [outputs, width] and bias of the last.
struct HeadParameters {
    const float *hidden_weight, *hidden_bias, *weight, *bias;
};
MOEGS_INLINE HeadParameters head_of(const moegs_heads &net, int h) {
    const float *const *p = net.parameters + 4 * h;
    return {p[0], p[1], p[2], p[3]};
}

// Offsets of the gradients of the parameters, in the order trunk weight, trunk bias, then head by head as above.
struct HeadOffsets {
    int64_t hidden_weight, hidden_bias, weight, bias, end;
};
inline int64_t trunk_floats(const moegs_heads &net) { return int64_t(net.width) * net.inputs + net.width; }
inline HeadOffsets offsets_of(const moegs_heads &net, int h) {
    const int64_t width = net.width;
    int64_t at = trunk_floats(net);
    for (int i = 0; i < h; ++i) at += width * width + width + net.outputs[i] * (width + 1);
    const int64_t weight = at + width * width + width;
    return {at, at + width * width, weight, weight + net.outputs[h] * width, weight + net.outputs[h] * (width + 1)};
}
inline int64_t parameter_floats(const moegs_heads &net) {
    return net.heads ? offsets_of(net, net.heads - 1).end : trunk_floats(net);
}

// to [columns, rows] = from [rows, columns]^T.
inline void transpose(int64_t rows, int64_t columns, const float *from, float *to) {
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
}

// trunk_hidden [count, width] and head_hidden [heads, count, width] are written where they are not null.
inline void heads_forward(const moegs_heads &net, int threads, float *const *values, float *trunk_hidden,
                          float *head_hidden) {
    const int64_t width = net.width, inputs = net.inputs, square = width * width;
    const Array<float> turned{size_t(inputs * width + net.heads * square)};
    transpose(width, inputs, net.trunk_weight, turned.data());
    const float *const heads_turned = turned.data() + inputs * width;
    for (int h = 0; h < net.heads; ++h)
        transpose(width, width, head_of(net, h).hidden_weight, turned.data() + inputs * width + h * square);
    on_tasks((net.count + kHeadTile - 1) / kHeadTile, threads, [&](int64_t tile) {
        const int64_t first = tile * kHeadTile, rows = std::min(kHeadTile, net.count - first);
        const Array<float> scratch{size_t(2 * kHeadTile * width)};
        float *const trunk = trunk_hidden ? trunk_hidden + first * width : scratch.data();
        product(rows, inputs, width, {net.features + first * inputs, inputs, 1}, turned.data(), width, net.trunk_bias, 0,
                true, trunk, width);
        for (int h = 0; h < net.heads; ++h) {
            const HeadParameters head = head_of(net, h);
            float *const hidden =
                head_hidden ? head_hidden + (h * net.count + first) * width : scratch.data() + kHeadTile * width;
            product(rows, width, width, {trunk, width, 1}, heads_turned + h * square, width, head.hidden_bias, 0, true,
                    hidden, width);
            thin_product(rows, width, net.outputs[h], hidden, head.weight, head.bias, values[h] + first * net.outputs[h]);
        }
    });
}

// One tile's way back; `gradients` of the parameters are added to. `scratch`: two tiles of `width` columns.
inline void heads_backward_tile(const moegs_heads &net, int64_t first, int64_t rows, const float *trunk_hidden,
                                const float *head_hidden, const float *const *v_values, float *scratch,
                                float *gradients, float *v_features) {
    const int64_t width = net.width, inputs = net.inputs;
    const float *const trunk = trunk_hidden + first * width;
    float *const v_trunk = scratch, *const v_hidden = scratch + kHeadTile * width;
    std::memset(v_trunk, 0, size_t(rows * width) * sizeof(float));
    for (int h = 0; h < net.heads; ++h) {
        if (!v_values[h]) continue;
        const int64_t outputs = net.outputs[h];
        const HeadParameters head = head_of(net, h);
        const HeadOffsets at = offsets_of(net, h);
        const float *const hidden = head_hidden + (h * net.count + first) * width;
        const float *const v = v_values[h] + first * outputs;
        product(outputs, rows, width, {v, 1, outputs}, hidden, width, gradients + at.weight, width, false,
                gradients + at.weight, width);
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t o = 0; o < outputs; ++o) gradients[at.bias + o] += v[r * outputs + o];
        product(rows, outputs, width, {v, outputs, 1}, head.weight, width, nullptr, 0, false, v_hidden, width);
        mask_rectified(rows * width, hidden, v_hidden);
        product(width, rows, width, {v_hidden, 1, width}, trunk, width, gradients + at.hidden_weight, width, false,
                gradients + at.hidden_weight, width);
        add_rows(rows, width, v_hidden, gradients + at.hidden_bias);
        product(rows, width, width, {v_hidden, width, 1}, head.hidden_weight, width, v_trunk, width, false, v_trunk, width);
    }
    mask_rectified(rows * width, trunk, v_trunk);
    product(width, rows, inputs, {v_trunk, 1, width}, net.features + first * inputs, inputs, gradients, inputs, false,
            gradients, inputs);
    add_rows(rows, width, v_trunk, gradients + width * inputs);
    if (v_features)
        product(rows, width, inputs, {v_trunk, width, 1}, net.trunk_weight, inputs, nullptr, 0, false,
                v_features + first * inputs, inputs);
}

// v_values[h] may be null: nothing depends on that output. v_features may be null: not wanted.
inline void heads_backward(const moegs_heads &net, const float *trunk_hidden, const float *head_hidden,
                           const float *const *v_values, int threads, float *v_features, float *v_parameters) {
    const int64_t floats = parameter_floats(net), tiles = (net.count + kHeadTile - 1) / kHeadTile;
    const Array<float> sums{size_t(kHeadParts * floats)};
    on_tasks(kHeadParts, threads, [&](int64_t part) {
        float *const own = sums.data() + part * floats;
        std::memset(own, 0, size_t(floats) * sizeof(float));
        const Array<float> scratch{size_t(2 * kHeadTile * net.width)};
        for (int64_t tile = tiles * part / kHeadParts; tile < tiles * (part + 1) / kHeadParts; ++tile) {
            const int64_t first = tile * kHeadTile;
            heads_backward_tile(net, first, std::min(kHeadTile, net.count - first), trunk_hidden, head_hidden, v_values,
                                scratch.data(), own, v_features);
        }
    });
    std::memset(v_parameters, 0, size_t(floats) * sizeof(float));
    for (int64_t part = 0; part < kHeadParts; ++part)
        for (int64_t i = 0; i < floats; ++i) v_parameters[i] += sums[size_t(part * floats + i)];
}

}  // namespace moegs
