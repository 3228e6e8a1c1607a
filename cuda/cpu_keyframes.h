// Gaussians with keyframes at one instant: positions on a cubic Hermite spline, rotations by slerp, a temporal window of
// opacity; and their gradients. The twins are fields/hermite.py, slerp.py and temporal_window.py of the experts.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "splat_cpu.h"

namespace moegs {

constexpr float kSlerpLargestCosine = 1.0f - 1e-4f;

struct UnitQuaternion {
    float q[4], length;

    explicit UnitQuaternion(const float *raw) {
        length = std::max(std::sqrt(raw[0] * raw[0] + raw[1] * raw[1] + raw[2] * raw[2] + raw[3] * raw[3]), 1e-12f);
        for (int d = 0; d < 4; ++d) q[d] = raw[d] / length;
    }
    // Gradient of the raw quaternion from that of the unit one.
    void backward(const float *v, float *v_raw) const {
        const float along = v[0] * q[0] + v[1] * q[1] + v[2] * q[2] + v[3] * q[3];
        for (int d = 0; d < 4; ++d) v_raw[d] = (v[d] - q[d] * along) / length;
    }
};

// sum = of_first * first + of_second * second, both units, the second with the sign that makes `cosine` positive.
struct Slerp {
    UnitQuaternion first, second;
    float sign, cosine, angle, sine, of_first, of_second, sum[4];
    bool close;

    Slerp(const float *raw, float u) : first(raw), second(raw + 4) {
        cosine = 0.0f;
        for (int d = 0; d < 4; ++d) cosine += first.q[d] * second.q[d];
        sign = cosine < 0 ? -1.0f : 1.0f;
        cosine *= sign;
        close = !(cosine <= kSlerpLargestCosine);
        angle = sine = 0.0f;
        of_first = 1 - u;
        of_second = u;
        if (!close) {
            angle = std::acos(cosine);
            sine = std::sin(angle);
            of_first = std::sin((1 - u) * angle) / sine;
            of_second = std::sin(u * angle) / sine;
        }
        for (int d = 0; d < 4; ++d) sum[d] = of_first * first.q[d] + of_second * sign * second.q[d];
    }

    void backward(float u, const float *v_unit, float *v_raw) const {
        float v_sum[4], v_first[4], v_second[4];
        UnitQuaternion(sum).backward(v_unit, v_sum);
        float v_cosine = 0.0f;
        if (!close) {
            float v_of_first = 0.0f, v_of_second = 0.0f;
            for (int d = 0; d < 4; ++d) {
                v_of_first += v_sum[d] * first.q[d];
                v_of_second += v_sum[d] * sign * second.q[d];
            }
            // d/dangle of sin(s angle) / sin(angle), and dangle/dcosine = -1 / sin(angle).
            const auto slope = [&](float s, float share) { return (s * std::cos(s * angle) - share * cosine) / sine; };
            v_cosine = -(v_of_first * slope(1 - u, of_first) + v_of_second * slope(u, of_second)) / sine;
        }
        for (int d = 0; d < 4; ++d) {
            v_first[d] = of_first * v_sum[d] + v_cosine * sign * second.q[d];
            v_second[d] = sign * (of_second * v_sum[d] + v_cosine * first.q[d]);
        }
        first.backward(v_first, v_raw);
        second.backward(v_second, v_raw + 4);
    }
};

// exp of minus the square of the distance from the time between two centres, in widths that differ by side.
struct TemporalWindow {
    int side;  // 0 before, 1 after both centres, -1 between them
    int nearest;
    float distance = 0.0f, grown = 0.0f, width = 1.0f, value = 1.0f;
    bool tie;

    TemporalWindow(float time, const float *centers, const float *log_widths, float least_width) {
        const int low = centers[0] <= centers[1] ? 0 : 1;
        tie = centers[0] == centers[1];
        const float before = centers[low] - time, after = time - centers[1 - low];
        side = before > 0 ? 0 : after > 0 ? 1 : -1;
        nearest = side == 1 ? 1 - low : low;
        if (side < 0 && before == before && after == after) return;
        if (side < 0) side = 0;  // not a number: neither side, but not nothing
        distance = side ? after : before;
        grown = std::exp(log_widths[side]);
        width = grown + least_width;
        value = std::exp(-(distance / width) * (distance / width));
    }

    void backward(float v_value, float *v_centers, float *v_log_widths) const {
        v_centers[0] = v_centers[1] = v_log_widths[0] = v_log_widths[1] = 0.0f;
        if (side < 0) return;
        const float v_distance = -2.0f * v_value * value * distance / (width * width);
        const float v_center = side ? -v_distance : v_distance;
        if (tie)
            v_centers[0] = v_centers[1] = 0.5f * v_center;
        else
            v_centers[nearest] = v_center;
        v_log_widths[side] = -v_distance * distance / width * grown;
    }
};

inline void keyframes_forward(const moegs_keyframes &k, int64_t begin, int64_t end, float *means, float *quats,
                              float *visible) {
    for (int64_t i = begin; i < end; ++i) {
        const float *points = k.means + (i * k.keyframes + k.keyframe - 1) * 3;
        for (int d = 0; d < 3; ++d)
            means[3 * i + d] = k.weights[0] * points[d] + k.weights[1] * points[3 + d] + k.weights[2] * points[6 + d] +
                               k.weights[3] * points[9 + d];
        const Slerp slerp(k.quats + (i * k.keyframes + k.keyframe) * 4, k.share);
        const UnitQuaternion unit(slerp.sum);
        for (int d = 0; d < 4; ++d) quats[4 * i + d] = unit.q[d];
        visible[i] = TemporalWindow(k.time, k.centers + 2 * i, k.log_widths + 2 * i, k.least_width).value;
    }
}

inline void keyframes_backward(const moegs_keyframes &k, int64_t begin, int64_t end, const float *v_means,
                               const float *v_quats, const float *v_visible, float *v_mean_keys, float *v_quat_keys,
                               float *v_centers, float *v_log_widths) {
    std::memset(v_mean_keys + begin * k.keyframes * 3, 0, size_t(end - begin) * size_t(k.keyframes) * 3 * sizeof(float));
    std::memset(v_quat_keys + begin * k.keyframes * 4, 0, size_t(end - begin) * size_t(k.keyframes) * 4 * sizeof(float));
    for (int64_t i = begin; i < end; ++i) {
        float *v_points = v_mean_keys + (i * k.keyframes + k.keyframe - 1) * 3;
        for (int key = 0; key < 4; ++key)
            for (int d = 0; d < 3; ++d) v_points[3 * key + d] = k.weights[key] * v_means[3 * i + d];
        const int64_t rotation = (i * k.keyframes + k.keyframe) * 4;
        Slerp(k.quats + rotation, k.share).backward(k.share, v_quats + 4 * i, v_quat_keys + rotation);
        TemporalWindow(k.time, k.centers + 2 * i, k.log_widths + 2 * i, k.least_width)
            .backward(v_visible[i], v_centers + 2 * i, v_log_widths + 2 * i);
    }
}

// Sums of the distances of keyframes 1 to reached - 1 from keyframe 0, per row, and the gradient of `scale` times them.
inline void reach_rows(int64_t begin, int64_t end, int keyframes, int reached, float scale, const float *means,
                       float *row_sums, float *v_means) {
    std::memset(v_means + begin * keyframes * 3, 0, size_t(end - begin) * size_t(keyframes) * 3 * sizeof(float));
    for (int64_t i = begin; i < end; ++i) {
        const float *points = means + i * keyframes * 3;
        float *v = v_means + i * keyframes * 3, sum = 0.0f;
        for (int key = 1; key < reached; ++key) {
            float away[3];
            for (int d = 0; d < 3; ++d) away[d] = points[3 * key + d] - points[d];
            const float distance = std::sqrt(away[0] * away[0] + away[1] * away[1] + away[2] * away[2]);
            const float factor = distance == 0 ? 0.0f : scale / distance;
            sum += distance;
            for (int d = 0; d < 3; ++d) {
                v[3 * key + d] = factor * away[d];
                v[d] -= factor * away[d];
            }
        }
        row_sums[i] = sum;
    }
}

}  // namespace moegs
