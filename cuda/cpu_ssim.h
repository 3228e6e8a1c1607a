// Structural similarity of two images (Wang et al. 2004: Gaussian window of 11 pixels, sigma 1.5, data range 1, zeros
// outside the image) and its gradient. The twin is ssim_map_torch of losses.py.
//
// Images are rows of width * channels floats, so that a pixel's neighbour to the right is `channels` floats further and
// all channels are blurred at once. With m_x, m_y the blurred images, s = blur(x^2 + y^2) and p = blur(x y),
//   S = A B / (D E),  A = 2 m_x m_y + c1,  B = 2 (p - m_x m_y) + c2,  D = m_x^2 + m_y^2 + c1,  E = s - m_x^2 - m_y^2 + c2.
// Its gradient with respect to x needs three more blurs, the window being symmetric:
//   blur(v dS/dm_x) + 2 x blur(v dS/ds) + y blur(v dS/dp).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu_memory.h"
#include "cpu_parallel.h"

namespace moegs {

constexpr int kSsimRadius = 5;
constexpr int kSsimTaps = 2 * kSsimRadius + 1;
constexpr int64_t kSsimBlock = 32;  // columns whose sums fit into registers

// Weights by distance from the centre.
struct SsimWindow {
    float weight[kSsimRadius + 1];

    SsimWindow() {
        double total = 0.0, raw[kSsimRadius + 1];
        for (int d = 0; d <= kSsimRadius; ++d) {
            raw[d] = std::exp(-d * d / (2.0 * 1.5 * 1.5));
            total += d ? 2.0 * raw[d] : raw[d];
        }
        for (int d = 0; d <= kSsimRadius; ++d) weight[d] = float(raw[d] / total);
    }
};

// Rows of `Planes` blurred images, each between margins of zeros: what is blurred down the columns already is blurred
// along the rows here.
template <int Planes>
class RowBlur {
public:
    RowBlur(int64_t row, int channels, const SsimWindow &window)
        : row_(row), margin_(int64_t(kSsimRadius) * channels), channels_(channels), window_(window),
          padded_(size_t(Planes * (row + 2 * margin_))) {
        std::memset(padded_.data(), 0, size_t(Planes * (row + 2 * margin_)) * sizeof(float));
    }

    float *input(int plane) const { return padded_.data() + plane * (row_ + 2 * margin_) + margin_; }

    void blur(int plane, float *__restrict__ to) const {
        const float *__restrict__ from = input(plane);
        const int64_t step = channels_;
        const float *w = window_.weight;
        for (int64_t i = 0; i < row_; ++i)
            to[i] = w[0] * from[i] + w[1] * (from[i - step] + from[i + step]) +
                    w[2] * (from[i - 2 * step] + from[i + 2 * step]) +
                    w[3] * (from[i - 3 * step] + from[i + 3 * step]) +
                    w[4] * (from[i - 4 * step] + from[i + 4 * step]) +
                    w[5] * (from[i - 5 * step] + from[i + 5 * step]);
    }

private:
    int64_t row_, margin_, channels_;
    const SsimWindow &window_;
    Array<float> padded_;
};

// The rows a blurred row is made of.
struct SsimTaps {
    int64_t first, last;  // inclusive, within the image
    float weights[kSsimTaps];

    SsimTaps(int64_t row, int64_t height, const SsimWindow &window)
        : first(std::max<int64_t>(0, row - kSsimRadius)), last(std::min(height - 1, row + kSsimRadius)) {
        for (int64_t r = first; r <= last; ++r) weights[r - first] = window.weight[r < row ? row - r : r - row];
    }
};

struct SsimImages {
    int64_t height, row;
    int channels;
    const float *x, *y;
};

// Blurs x, y, x^2 + y^2 and x y down the columns, a block of columns at a time; their products are made on the way.
inline void blur_moments_down(const SsimImages &images, const SsimTaps &taps, float *__restrict__ to_x,
                              float *__restrict__ to_y, float *__restrict__ to_s, float *__restrict__ to_p) {
    int64_t i = 0;
    const auto columns = [&](auto width) {
        constexpr int64_t kColumns = decltype(width)::value;
        float sum_x[kColumns] = {}, sum_y[kColumns] = {}, sum_s[kColumns] = {}, sum_p[kColumns] = {};
        for (int64_t r = taps.first; r <= taps.last; ++r) {
            const float w = taps.weights[r - taps.first];
            const float *__restrict__ x = images.x + r * images.row + i, *__restrict__ y = images.y + r * images.row + i;
            for (int64_t k = 0; k < kColumns; ++k) {
                const float wx = w * x[k], wy = w * y[k];
                sum_x[k] += wx;
                sum_y[k] += wy;
                sum_s[k] += wx * x[k] + wy * y[k];
                sum_p[k] += wx * y[k];
            }
        }
        for (int64_t k = 0; k < kColumns; ++k) {
            to_x[i + k] = sum_x[k];
            to_y[i + k] = sum_y[k];
            to_s[i + k] = sum_s[k];
            to_p[i + k] = sum_p[k];
        }
    };
    for (; i + kSsimBlock <= images.row; i += kSsimBlock) columns(std::integral_constant<int64_t, kSsimBlock>{});
    for (; i < images.row; ++i) columns(std::integral_constant<int64_t, 1>{});
}

// partials, if given: [3, height, row] dS/dm_x, dS/ds, dS/dp.
inline void ssim_forward_rows(const SsimImages &images, int64_t begin, int64_t end, float *map, float *partials) {
    const float c1 = 0.01f * 0.01f, c2 = 0.03f * 0.03f;
    const SsimWindow window;
    const int64_t row = images.row, plane = images.height * row;
    const RowBlur<4> blur(row, images.channels, window);
    const Array<float> sums(size_t(4 * row));
    for (int64_t r = begin; r < end; ++r) {
        blur_moments_down(images, SsimTaps(r, images.height, window), blur.input(0), blur.input(1), blur.input(2),
                          blur.input(3));
        for (int k = 0; k < 4; ++k) blur.blur(k, sums.data() + k * row);
        const float *__restrict__ mx = sums.data(), *__restrict__ my = mx + row;
        const float *__restrict__ s = my + row, *__restrict__ p = s + row;
        float *__restrict__ to = map + r * row;
        if (!partials) {
            for (int64_t i = 0; i < row; ++i) {
                const float cross = mx[i] * my[i], squares = mx[i] * mx[i] + my[i] * my[i];
                to[i] = (2.0f * cross + c1) * (2.0f * (p[i] - cross) + c2) / ((squares + c1) * (s[i] - squares + c2));
            }
            continue;
        }
        float *__restrict__ dm = partials + r * row, *__restrict__ ds = dm + plane, *__restrict__ dp = ds + plane;
        for (int64_t i = 0; i < row; ++i) {
            const float cross = mx[i] * my[i], squares = mx[i] * mx[i] + my[i] * my[i];
            const float a = 2.0f * cross + c1, b = 2.0f * (p[i] - cross) + c2;
            const float d = squares + c1, e = s[i] - squares + c2, inv_de = 1.0f / (d * e);
            const float a_de = a * inv_de, similarity = a_de * b;
            to[i] = similarity;
            dm[i] = 2.0f * inv_de * (my[i] * (b - a) - mx[i] * similarity * (e - d));
            ds[i] = -similarity * d * inv_de;
            dp[i] = 2.0f * a_de;
        }
    }
}

// v_map: gradient of the map, [height, row]; unless Weighted it is not read and counts as 1. Every number of the
// gradient and its place in the image go through finish(gradient, place) into v_x.
template <bool Weighted, class Finish>
void ssim_backward_rows(const SsimImages &images, const float *partials, const float *v_map, int64_t begin, int64_t end,
                        const Finish &finish, float *v_x) {
    const SsimWindow window;
    const int64_t row = images.row, plane = images.height * row;
    const RowBlur<3> blur(row, images.channels, window);
    const Array<float> sums(size_t(3 * row));
    for (int64_t r = begin; r < end; ++r) {
        const SsimTaps taps(r, images.height, window);
        float *__restrict__ to_m = blur.input(0), *__restrict__ to_s = blur.input(1), *__restrict__ to_p = blur.input(2);
        int64_t i = 0;
        const auto columns = [&](auto width) {
            constexpr int64_t kColumns = decltype(width)::value;
            float sum_m[kColumns] = {}, sum_s[kColumns] = {}, sum_p[kColumns] = {};
            for (int64_t t = taps.first; t <= taps.last; ++t) {
                const float w = taps.weights[t - taps.first];
                const float *__restrict__ m = partials + t * row + i, *__restrict__ v = Weighted ? v_map + t * row + i : m;
                for (int64_t k = 0; k < kColumns; ++k) {
                    const float wv = Weighted ? w * v[k] : w;
                    sum_m[k] += wv * m[k];
                    sum_s[k] += wv * m[k + plane];
                    sum_p[k] += wv * m[k + 2 * plane];
                }
            }
            for (int64_t k = 0; k < kColumns; ++k) {
                to_m[i + k] = sum_m[k];
                to_s[i + k] = sum_s[k];
                to_p[i + k] = sum_p[k];
            }
        };
        for (; i + kSsimBlock <= row; i += kSsimBlock) columns(std::integral_constant<int64_t, kSsimBlock>{});
        for (; i < row; ++i) columns(std::integral_constant<int64_t, 1>{});

        for (int k = 0; k < 3; ++k) blur.blur(k, sums.data() + k * row);
        const float *__restrict__ dm = sums.data(), *__restrict__ ds = dm + row, *__restrict__ dp = ds + row;
        const float *__restrict__ x = images.x + r * row, *__restrict__ y = images.y + r * row;
        float *__restrict__ to = v_x + r * row;
        for (int64_t k = 0; k < row; ++k) to[k] = finish(dm[k] + 2.0f * x[k] * ds[k] + y[k] * dp[k], r * row + k);
    }
}

}  // namespace moegs
