// What density control adds up of a picture: the length of each Gaussian's gradient on the screen, and that it was seen.
// The twin is add_gradients_torch of splats/gaussian_set.py.
#pragma once

#include <cmath>
#include <cstdint>

namespace moegs {

// rows: where each of the Gaussians stands in the totals; null: in order.
inline void add_gradients(const int64_t *rows, const float *v_means2d, const uint8_t *visible, float half_width,
                          float half_height, int64_t begin, int64_t end, float *sums, float *counts) {
    for (int64_t i = begin; i < end; ++i) {
        const float x = v_means2d[2 * i] * half_width, y = v_means2d[2 * i + 1] * half_height;
        const int64_t row = rows ? rows[i] : i;
        sums[row] += visible[i] ? std::sqrt(x * x + y * y) : 0.0f;
        counts[row] += visible[i] ? 1.0f : 0.0f;
    }
}

}  // namespace moegs
