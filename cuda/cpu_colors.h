// Spherical harmonics of up to degree 3 in the direction of every Gaussian, and their gradient with respect to the
// coefficients. The twin is evaluate_sh_torch of splats/sh.py: same basis, order and signs.
//
// Seen from an `origin` (null: none) the directions are positions minus it, and the sum becomes a colour, plus 0.5 and at
// least 0. A colour that was below 0 is stored as -0 and thereby told from one that was 0 and has a gradient.
#pragma once

#include <cmath>

#include "cpu_lanes.h"
#include "cpu_projection.h"

namespace moegs {

constexpr int kMaxBases = 16;

// Basis values of sixteen directions of any length above zero; bases[b][lane].
template <int Degree>
MOEGS_INLINE void sh_bases(const float *directions, const float *origin, int count, float (*bases)[kLanes]) {
    Floats d[3];
    load_rows<3>(directions, count, d);
    if (origin)
        for (int k = 0; k < 3; ++k) d[k] = d[k] - splat(origin[k]);
    const Floats length = square_root(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
    const Floats inverse = splat(1.0f) / maximum(length, splat(1e-12f));
    const Floats x = d[0] * inverse, y = d[1] * inverse, z = d[2] * inverse;
    const auto norm = [](double numerator, double denominator) {
        return float(std::sqrt(numerator / (denominator * 3.14159265358979323846)));
    };
    store(bases[0], splat(norm(1, 4)));
    if (Degree >= 1) {
        store(bases[1], splat(-norm(3, 4)) * y);
        store(bases[2], splat(norm(3, 4)) * z);
        store(bases[3], splat(-norm(3, 4)) * x);
    }
    if (Degree >= 2) {
        const Floats xx = x * x, yy = y * y, zz = z * z;
        store(bases[4], splat(norm(15, 4)) * x * y);
        store(bases[5], splat(-norm(15, 4)) * y * z);
        store(bases[6], splat(norm(5, 16)) * (3.0f * zz - splat(1.0f)));
        store(bases[7], splat(-norm(15, 4)) * x * z);
        store(bases[8], splat(norm(15, 16)) * (xx - yy));
        if (Degree >= 3) {
            store(bases[9], splat(-norm(35, 32)) * y * (3.0f * xx - yy));
            store(bases[10], splat(norm(105, 4)) * x * y * z);
            store(bases[11], splat(-norm(21, 32)) * y * (5.0f * zz - splat(1.0f)));
            store(bases[12], splat(norm(7, 16)) * z * (5.0f * zz - splat(3.0f)));
            store(bases[13], splat(-norm(21, 32)) * x * (5.0f * zz - splat(1.0f)));
            store(bases[14], splat(norm(105, 16)) * z * (xx - yy));
            store(bases[15], splat(-norm(35, 32)) * x * (xx - 3.0f * yy));
        }
    }
}

// Sixteen Gaussians; sh: rows of `stored` x 3 floats.
template <int Degree>
void sh_forward_lanes(const float *directions, const float *origin, const float *sh, int stored, int count,
                      float *colors) {
    constexpr int kBases = (Degree + 1) * (Degree + 1);
    alignas(64) float bases[kBases][kLanes];
    sh_bases<Degree>(directions, origin, count, bases);
    for (int lane = 0; lane < count; ++lane) {
        const float *row = sh + int64_t(lane) * stored * 3;
        float sum[3] = {};
        for (int b = 0; b < kBases; ++b)
            for (int c = 0; c < 3; ++c) sum[c] += bases[b][lane] * row[3 * b + c];
        for (int c = 0; c < 3; ++c) colors[3 * lane + c] = sum[c];
    }
    if (!origin) return;
    for (int k = 0; k < 3 * count; ++k) {
        const float color = colors[k] + 0.5f;
        colors[k] = color < 0.0f ? -0.0f : color;
    }
}

template <int Degree>
void sh_backward_lanes(const float *directions, const float *origin, const float *colors, const float *v_colors,
                       int stored, int count, float *v_sh) {
    constexpr int kBases = (Degree + 1) * (Degree + 1);
    alignas(64) float bases[kBases][kLanes];
    sh_bases<Degree>(directions, origin, count, bases);
    float v_sums[3 * kLanes];
    for (int k = 0; k < 3 * count; ++k) v_sums[k] = origin && std::signbit(colors[k]) ? 0.0f : v_colors[k];
    for (int lane = 0; lane < count; ++lane) {
        float *row = v_sh + int64_t(lane) * stored * 3;
        for (int b = 0; b < kBases; ++b)
            for (int c = 0; c < 3; ++c) row[3 * b + c] = bases[b][lane] * v_sums[3 * lane + c];
        for (int k = 3 * kBases; k < 3 * stored; ++k) row[k] = 0.0f;
    }
}

}  // namespace moegs
