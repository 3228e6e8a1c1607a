// STG's network per pixel: rgb = f(albedo + W2 relu(W1 [specular, time, ray])), and its gradients with respect to the
// features and both matrices. The twin is decode_torch of experts/heads.py.
//
// Sixteen pixels at a time, the last group filled up with zeros: a pixel's colour depends on nothing but its own numbers.
#pragma once

#include <algorithm>

#include "cpu_lanes.h"
#include "cpu_memory.h"
#include "cpu_parallel.h"

namespace moegs {

constexpr int kFeatures = 9, kSeen = 12, kHidden = 6;
constexpr int kRayChannels = 6, kDecoderWeights = kHidden * kSeen + 3 * kHidden;
constexpr int64_t kDecoderChunk = 64 * kLanes;  // pixels whose gradients of the matrices are added up in one go

struct Decoder {
    int64_t count, stride;                     // pixels; floats from one pixel's features to the next one's
    const float *features, *rays;              // rays: [6, count]
    const float *hidden_weight, *color_weight;  // [6, 12], [3, 6]
    bool sigmoid;                              // else clamped to [0, 1]
};

// 1 / (1 + exp(-x)), without overflow on either side.
MOEGS_INLINE Floats logistic(const Floats &x) {
    const Floats small = exp2_of_minus(minimum(1.44269504f * absolute(x), splat(120.0f)));
    const Floats one = splat(1.0f), share = one / (one + small);
    return select(x >= Floats{}, share, small * share);
}

// What both directions need of sixteen pixels.
struct DecodedLanes {
    Floats seen[kSeen], hidden[kHidden], sum[3];

    MOEGS_INLINE DecodedLanes(const Decoder &d, int64_t first, int count) {
        alignas(64) float lanes[kFeatures + kRayChannels][kLanes] = {};
        const float *row = d.features + first * d.stride;
        for (int i = 0; i < count; ++i, row += d.stride)
            for (int k = 0; k < kFeatures; ++k) lanes[k][i] = row[k];
        for (int k = 0; k < kRayChannels; ++k)
            for (int i = 0; i < count; ++i) lanes[kFeatures + k][i] = d.rays[k * d.count + first + i];
        for (int k = 0; k < kSeen; ++k) seen[k] = load<Floats>(lanes[3 + k]);
        for (int j = 0; j < kHidden; ++j) {
            Floats value{};
            for (int k = 0; k < kSeen; ++k) value = value + d.hidden_weight[j * kSeen + k] * seen[k];
            hidden[j] = maximum(value, Floats{});
        }
        for (int c = 0; c < 3; ++c) {
            Floats value{};
            for (int j = 0; j < kHidden; ++j) value = value + d.color_weight[c * kHidden + j] * hidden[j];
            sum[c] = load<Floats>(lanes[c]) + value;
        }
    }
};

inline void decoder_forward_lanes(const Decoder &d, int64_t first, int count, float *rgb) {
    const DecodedLanes pixel(d, first, count);
    alignas(64) float lanes[3][kLanes];
    for (int c = 0; c < 3; ++c)
        store(lanes[c], d.sigmoid ? logistic(pixel.sum[c]) : clamp(pixel.sum[c], Floats{}, splat(1.0f)));
    for (int i = 0; i < count; ++i)
        for (int c = 0; c < 3; ++c) rgb[3 * (first + i) + c] = lanes[c][i];
}

// weights: lanewise sums of the gradients of both matrices, added to.
inline void decoder_backward_lanes(const Decoder &d, int64_t first, int count, const float *v_rgb, float *v_features,
                                   Floats *weights) {
    const DecodedLanes pixel(d, first, count);
    alignas(64) float upstream[3][kLanes] = {};
    for (int i = 0; i < count; ++i)
        for (int c = 0; c < 3; ++c) upstream[c][i] = v_rgb[3 * (first + i) + c];
    const Floats one = splat(1.0f), zero{};
    Floats v[3], v_hidden[kHidden];
    for (int c = 0; c < 3; ++c) {
        v[c] = load<Floats>(upstream[c]);
        const Floats &sum = pixel.sum[c];
        if (d.sigmoid) {
            const Floats y = logistic(sum);
            v[c] = v[c] * ((one - y) * y);
        } else {
            v[c] = keep_if((sum >= zero) & (sum <= one), v[c]);
        }
    }
    Floats *hidden_sums = weights, *color_sums = weights + kHidden * kSeen;
    for (int j = 0; j < kHidden; ++j) {
        Floats total{};
        for (int c = 0; c < 3; ++c) {
            total = total + d.color_weight[c * kHidden + j] * v[c];
            color_sums[c * kHidden + j] = color_sums[c * kHidden + j] + v[c] * pixel.hidden[j];
        }
        v_hidden[j] = keep_if(pixel.hidden[j] > zero, total);
        for (int k = 0; k < kSeen; ++k)
            hidden_sums[j * kSeen + k] = hidden_sums[j * kSeen + k] + v_hidden[j] * pixel.seen[k];
    }
    alignas(64) float lanes[kFeatures][kLanes];
    for (int c = 0; c < 3; ++c) store(lanes[c], v[c]);
    for (int k = 0; k < kFeatures - 3; ++k) {
        Floats total{};
        for (int j = 0; j < kHidden; ++j) total = total + d.hidden_weight[j * kSeen + k] * v_hidden[j];
        store(lanes[3 + k], total);
    }
    float *to = v_features + first * kFeatures;
    for (int i = 0; i < count; ++i)
        for (int k = 0; k < kFeatures; ++k) to[i * kFeatures + k] = lanes[k][i];
}

// Chunks of pixels are added up one by one and then in their order: the same for any number of threads.
inline void decoder_backward(const Decoder &d, const float *v_rgb, int threads, float *v_features, float *v_hidden,
                             float *v_color) {
    const int64_t chunks = (d.count + kDecoderChunk - 1) / kDecoderChunk;
    Array<float> sums{size_t(chunks * kDecoderWeights)};
    on_ranges(chunks, threads, [&](int, int64_t begin, int64_t end) {
        for (int64_t chunk = begin; chunk < end; ++chunk) {
            alignas(64) Floats weights[kDecoderWeights] = {};
            const int64_t last = std::min(d.count, (chunk + 1) * kDecoderChunk);
            for (int64_t i = chunk * kDecoderChunk; i < last; i += kLanes)
                decoder_backward_lanes(d, i, int(std::min<int64_t>(kLanes, last - i)), v_rgb, v_features, weights);
            for (int k = 0; k < kDecoderWeights; ++k) {
                alignas(64) float lanes[kLanes];
                store(lanes, weights[k]);
                sums.data()[chunk * kDecoderWeights + k] = sum_of_lanes<kLanes>(lanes);
            }
        }
    });
    for (int k = 0; k < kDecoderWeights; ++k) {
        double total = 0.0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) total += double(sums.data()[chunk * kDecoderWeights + k]);
        (k < kHidden * kSeen ? v_hidden[k] : v_color[k - kHidden * kSeen]) = float(total);
    }
}

}  // namespace moegs
