// The photometric loss of two images, (1 - w) mean |x - y| + w (1 - mean SSIM), with its gradient and, if asked for, maps
// of both errors, without the intermediate images that autograd would keep. The twin is photometric_loss of losses.py.
#pragma once

#include <cmath>

#include "cpu_lanes.h"
#include "cpu_ssim.h"

namespace moegs {

constexpr int kSumLanes = 16;

// Sum of `at(i)` over [0, count): lane by lane, so that it becomes vector code with one fixed order.
template <class At>
float lane_sum(int64_t count, const At &at) {
    float lanes[kSumLanes] = {};
    int64_t i = 0;
    for (; i + kSumLanes <= count; i += kSumLanes)
        for (int k = 0; k < kSumLanes; ++k) lanes[k] += at(i + k);
    for (int k = 0; i + k < count; ++k) lanes[k] += at(i + k);
    return sum_of_lanes<kSumLanes>(lanes);
}

template <int Channels>
void error_maps_row(const float *x, const float *y, const float *similarity, int any_channels, int64_t width,
                    float *__restrict__ maps) {
    const int channels = Channels ? Channels : any_channels;
    const float share = 1.0f / float(channels);
    for (int64_t p = 0; p < width; ++p) {
        float error = 0.0f, alike = 0.0f;
        for (int c = 0; c < channels; ++c) {
            error += std::fabs(x[p * channels + c] - y[p * channels + c]);
            alike += similarity[p * channels + c];
        }
        maps[3 * p] = 1.0f;
        maps[3 * p + 1] = share * error;
        maps[3 * p + 2] = share * alike;
    }
}

inline float photometric(const SsimImages &images, float ssim_weight, int threads, float *maps, float *v_x) {
    const int64_t height = images.height, row = images.row, size = height * row, width = row / images.channels;
    Array<float> similarity{size_t(size)}, partials{size_t(v_x ? 3 * size : 0)}, sums{size_t(2 * height)};
    on_ranges(height, threads, [&](int, int64_t begin, int64_t end) {
        ssim_forward_rows(images, begin, end, similarity.data(), v_x ? partials.data() : nullptr);
        for (int64_t r = begin; r < end; ++r) {
            const float *x = images.x + r * row, *y = images.y + r * row, *s = similarity.data() + r * row;
            sums[size_t(2 * r)] = lane_sum(row, [&](int64_t i) { return std::fabs(x[i] - y[i]); });
            sums[size_t(2 * r + 1)] = lane_sum(row, [&](int64_t i) { return s[i]; });
            if (maps)
                (images.channels == 3 ? error_maps_row<3> : error_maps_row<0>)(x, y, s, images.channels, width,
                                                                              maps + r * 3 * width);
        }
    });
    double absolute = 0.0, alike = 0.0;
    for (int64_t r = 0; r < height; ++r) {
        absolute += double(sums[size_t(2 * r)]);
        alike += double(sums[size_t(2 * r + 1)]);
    }
    if (v_x) {
        const float of_ssim = float(-double(ssim_weight) / double(size));
        const float of_absolute = float((1.0 - double(ssim_weight)) / double(size));
        const float *__restrict__ x = images.x, *__restrict__ y = images.y;
        const auto finish = [=](float v_ssim, int64_t i) {
            const float sign = x[i] > y[i] ? of_absolute : x[i] < y[i] ? -of_absolute : 0.0f;
            return of_ssim * v_ssim + sign;
        };
        on_ranges(height, threads, [&](int, int64_t begin, int64_t end) {
            ssim_backward_rows<false>(images, partials.data(), nullptr, begin, end, finish, v_x);
        });
    }
    const double weight = double(ssim_weight);
    return float((1.0 - weight) * absolute / double(size) + weight * (1.0 - alike / double(size)));
}

}  // namespace moegs
