// Mean weighted distance between the rows of a table along the edges of a graph, sqrt(w |z_i - z_j|^2 + epsilon) for
// node i and each of its neighbours j, and its gradient. The twin is _MeanDifference of fields/embedding_smoothness.py.
//
// Edges are walked twice, from their own end and, sorted, from the other: sums never meet, and per edge one float is
// kept instead of a row.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu_lanes.h"
#include "cpu_parallel.h"

namespace moegs {

struct DifferenceGraph {
    int64_t count;      // nodes
    int32_t neighbors;  // edges per node
    const int64_t *index;   // [count, neighbors] where each edge leads
    const float *weight;    // [count, neighbors]
    const int64_t *order;   // [count * neighbors] edges sorted by where they lead
    const int64_t *starts;  // [count] where each node's begin in `order`
};

// |a - b|^2. Size = 0 here and below: a size known only at run time, given as `any_size`.
template <int Size>
MOEGS_INLINE float squared_distance(const float *a, const float *b, int any_size) {
    const int size = Size ? Size : any_size;
    NativeFloats sums = {};
    int d = 0;
    for (; d + kWidth <= size; d += kWidth) {
        NativeFloats x, y;
        std::memcpy(&x, a + d, sizeof(x));
        std::memcpy(&y, b + d, sizeof(y));
        sums += (x - y) * (x - y);
    }
    float lanes[kWidth], rest = 0.0f;
    std::memcpy(lanes, &sums, sizeof(sums));
    for (; d < size; ++d) rest += (a[d] - b[d]) * (a[d] - b[d]);
    return sum_of_lanes<kWidth>(lanes) + rest;
}

template <int Size>
MOEGS_INLINE void add_scaled_difference(float factor, const float *__restrict__ a, const float *__restrict__ b,
                                        int any_size, float *__restrict__ to) {
    const int size = Size ? Size : any_size;
    for (int d = 0; d < size; ++d) to[d] += factor * (a[d] - b[d]);
}

// From their own end: every node's sum of distances, every edge's weight / distance, and the gradient of this end.
template <int Size>
void outgoing_differences(const DifferenceGraph &graph, const float *rows, int any_size, int64_t begin, int64_t end,
                          float *node_sums, float *factors, float *v_rows) {
    const int size = Size ? Size : any_size;
    for (int64_t i = begin; i < end; ++i) {
        const float *own = rows + i * size;
        const int64_t *index = graph.index + i * graph.neighbors;
        const float *__restrict__ weight = graph.weight + i * graph.neighbors;
        float *__restrict__ factor = factors + i * graph.neighbors;
        // Stage by stage for all edges: roots and divisions then go through the pipeline side by side.
        for (int k = 0; k < graph.neighbors; ++k) factor[k] = squared_distance<Size>(own, rows + index[k] * size, size);
        for (int k = 0; k < graph.neighbors; ++k) factor[k] = std::sqrt(weight[k] * factor[k] + 1e-20f);
        float sum = 0.0f;
        for (int k = 0; k < graph.neighbors; ++k) sum += factor[k];
        node_sums[i] = sum;
        for (int k = 0; k < graph.neighbors; ++k) factor[k] = weight[k] / factor[k];
        float *to = v_rows + i * size;
        for (int d = 0; d < size; ++d) to[d] = 0.0f;
        for (int k = 0; k < graph.neighbors; ++k)
            add_scaled_difference<Size>(factor[k], own, rows + index[k] * size, size, to);
    }
}

// From the other end: adds the gradient of the edges that lead to each node, and scales the whole.
template <int Size>
void incoming_differences(const DifferenceGraph &graph, const float *rows, int any_size, const float *factors,
                          float scale, int64_t begin, int64_t end, float *v_rows) {
    const int size = Size ? Size : any_size;
    const int64_t edges = graph.count * graph.neighbors;
    for (int64_t j = begin; j < end; ++j) {
        const float *own = rows + j * size;
        float *to = v_rows + j * size;
        const int64_t last = j + 1 < graph.count ? graph.starts[j + 1] : edges;
        for (int64_t k = graph.starts[j]; k < last; ++k) {
            const int64_t edge = graph.order[k];
            add_scaled_difference<Size>(factors[edge], own, rows + edge / graph.neighbors * size, size, to);
        }
        for (int d = 0; d < size; ++d) to[d] *= scale;
    }
}

}  // namespace moegs
