// EWA projection of 3D Gaussians to the image plane and its gradient, sixteen Gaussians at a time.
//
// The 2D covariance is formed from its factor: with V = R_view R_quat diag(scale) and the Jacobian J of the pinhole
// projection, P = J V is 2x3 and cov = P P^T. Its determinant is the sum of the squared 2x2 minors of P
// (Cauchy-Binet), and det(cov + eps I) = det cov + eps tr cov + eps^2: no cancellation, however thin the Gaussian.
#pragma once

#include <algorithm>
#include <cmath>

#include "cpu_lanes.h"
#include "cpu_parallel.h"
#include "splat_cpu.h"

namespace moegs {

MOEGS_INLINE Floats square_root(const Floats &a) {
    alignas(64) float x[kLanes];
    store(x, a);
    for (int i = 0; i < kLanes; ++i) x[i] = std::sqrt(x[i]);
    return load<Floats>(x);
}
MOEGS_INLINE Floats round_up(const Floats &a) {
    alignas(64) float x[kLanes];
    store(x, a);
    for (int i = 0; i < kLanes; ++i) x[i] = std::ceil(x[i]);
    return load<Floats>(x);
}

// Columns of `count` <= 16 rows of `Columns` floats; missing rows read as zero.
template <int Columns>
MOEGS_INLINE void load_rows(const float *rows, int count, Floats *columns) {
    alignas(64) float lanes[Columns][kLanes] = {};
    if (count == kLanes) {
        for (int i = 0; i < kLanes; ++i)
            for (int k = 0; k < Columns; ++k) lanes[k][i] = rows[i * Columns + k];
    } else {
        for (int i = 0; i < count; ++i)
            for (int k = 0; k < Columns; ++k) lanes[k][i] = rows[i * Columns + k];
    }
    for (int k = 0; k < Columns; ++k) columns[k] = load<Floats>(lanes[k]);
}
template <int Columns>
MOEGS_INLINE void store_rows(float *rows, int count, const Floats *columns) {
    alignas(64) float lanes[Columns][kLanes];
    for (int k = 0; k < Columns; ++k) store(lanes[k], columns[k]);
    if (count == kLanes) {
        for (int i = 0; i < kLanes; ++i)
            for (int k = 0; k < Columns; ++k) rows[i * Columns + k] = lanes[k][i];
    } else {
        for (int i = 0; i < count; ++i)
            for (int k = 0; k < Columns; ++k) rows[i * Columns + k] = lanes[k][i];
    }
}

// A pinhole camera, and everything of the projection that both directions need, for sixteen Gaussians.
struct ProjectionLanes {
    Floats x, y, z, inv_z;                      // camera space
    Floats clipped_x, clipped_y;                // where J is evaluated (gsplat limits the view angle there)
    Ints free_x, free_y;                        // lanes not limited
    Floats quat[4], inv_norm, rotation[3][3];   // unit quaternion wxyz, its rotation
    Floats scale[3], view[3][3];                // V = R_view R_quat diag(scale)
    Floats j00, j02, j11, j12, factor[2][3];    // Jacobian, P = J V
    Floats c00, c01, c11, det;                  // covariance with eps2d on its diagonal
    Floats det_sharp;                           // determinant before eps2d

    MOEGS_INLINE void compute(const float *means, const float *quats, const float *scales, int count,
                              const moegs_camera &camera) {
        const float *m = camera.viewmat;
        Floats mean[3], q[4];
        load_rows<3>(means, count, mean);
        load_rows<4>(quats, count, q);
        load_rows<3>(scales, count, scale);
        x = m[0] * mean[0] + m[1] * mean[1] + m[2] * mean[2] + splat(m[3]);
        y = m[4] * mean[0] + m[5] * mean[1] + m[6] * mean[2] + splat(m[7]);
        z = m[8] * mean[0] + m[9] * mean[1] + m[10] * mean[2] + splat(m[11]);

        const Floats norm = square_root(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
        inv_norm = splat(1.0f) / maximum(norm, splat(1e-12f));
        for (int k = 0; k < 4; ++k) quat[k] = q[k] * inv_norm;
        const Floats &w = quat[0], &i = quat[1], &j = quat[2], &k = quat[3];
        rotation[0][0] = 1.0f - 2.0f * (j * j + k * k);
        rotation[0][1] = 2.0f * (i * j - w * k);
        rotation[0][2] = 2.0f * (i * k + w * j);
        rotation[1][0] = 2.0f * (i * j + w * k);
        rotation[1][1] = 1.0f - 2.0f * (i * i + k * k);
        rotation[1][2] = 2.0f * (j * k - w * i);
        rotation[2][0] = 2.0f * (i * k - w * j);
        rotation[2][1] = 2.0f * (j * k + w * i);
        rotation[2][2] = 1.0f - 2.0f * (i * i + j * j);
        for (int row = 0; row < 3; ++row)
            for (int col = 0; col < 3; ++col)
                view[row][col] = (m[4 * row] * rotation[0][col] + m[4 * row + 1] * rotation[1][col] +
                                  m[4 * row + 2] * rotation[2][col]) * scale[col];

        const float fx = camera.intrinsics[0], fy = camera.intrinsics[4];
        const float cx = camera.intrinsics[2], cy = camera.intrinsics[5];
        const float margin_x = 0.15f * float(camera.width) / fx, margin_y = 0.15f * float(camera.height) / fy;
        inv_z = splat(1.0f) / z;
        const Floats tan_x = x * inv_z, tan_y = y * inv_z;
        const Floats right = splat((float(camera.width) - cx) / fx + margin_x), left = splat(-cx / fx - margin_x);
        const Floats bottom = splat((float(camera.height) - cy) / fy + margin_y), top = splat(-cy / fy - margin_y);
        free_x = (tan_x <= right) & (tan_x >= left);
        free_y = (tan_y <= bottom) & (tan_y >= top);
        clipped_x = z * clamp(tan_x, left, right);
        clipped_y = z * clamp(tan_y, top, bottom);
        j00 = fx * inv_z;
        j11 = fy * inv_z;
        j02 = (0.0f - j00) * clipped_x * inv_z;
        j12 = (0.0f - j11) * clipped_y * inv_z;
        for (int col = 0; col < 3; ++col) {
            factor[0][col] = j00 * view[0][col] + j02 * view[2][col];
            factor[1][col] = j11 * view[1][col] + j12 * view[2][col];
        }
        const Floats *p = factor[0], *r = factor[1];
        c00 = p[0] * p[0] + p[1] * p[1] + p[2] * p[2];
        c01 = p[0] * r[0] + p[1] * r[1] + p[2] * r[2];
        c11 = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
        const Floats minor_a = p[0] * r[1] - p[1] * r[0], minor_b = p[0] * r[2] - p[2] * r[0],
                     minor_c = p[1] * r[2] - p[2] * r[1];
        det_sharp = minor_a * minor_a + minor_b * minor_b + minor_c * minor_c;
        det = det_sharp + camera.eps2d * (c00 + c11 + splat(camera.eps2d));
        c00 = c00 + splat(camera.eps2d);
        c11 = c11 + splat(camera.eps2d);
    }
};

inline void project_forward_lanes(const float *means, const float *quats, const float *scales, int count,
                                  const moegs_camera &camera, float *means2d, float *depths, float *conics,
                                  float *compensations, int32_t *radii) {
    ProjectionLanes g;
    g.compute(means, quats, scales, count, camera);
    const float fx = camera.intrinsics[0], fy = camera.intrinsics[4];
    const Floats u = fx * g.x * g.inv_z + splat(camera.intrinsics[2]);
    const Floats v = fy * g.y * g.inv_z + splat(camera.intrinsics[5]);

    const Floats mid = 0.5f * (g.c00 + g.c11), half = 0.5f * (g.c00 - g.c11);
    const Floats spread = square_root(maximum(half * half + g.c01 * g.c01, splat(0.01f)));
    const Floats radius = round_up(3.0f * square_root(mid + spread));
    const Floats zero{};
    // Comparisons are written so that a NaN anywhere culls.
    const Ints kept = (g.z >= splat(camera.near_plane)) & (g.z <= splat(camera.far_plane)) & (g.det > zero) &
                      (radius > splat(camera.radius_clip)) & (u + radius > zero) & (v + radius > zero) &
                      (splat(float(camera.width)) > u - radius) & (splat(float(camera.height)) > v - radius);

    const Floats inv_det = splat(1.0f) / g.det;
    const Floats pixel[2] = {keep_if(kept, u), keep_if(kept, v)};
    const Floats conic[3] = {keep_if(kept, g.c11 * inv_det), keep_if(kept, (0.0f - g.c01) * inv_det),
                             keep_if(kept, g.c00 * inv_det)};
    const Floats depth = keep_if(kept, g.z);
    const Floats shrink = camera.antialiased ? keep_if(kept, square_root(g.det_sharp * inv_det)) : splat(1.0f);
    const Floats bounded = keep_if(kept, minimum(radius, splat(1073741824.0f)));
    store_rows<2>(means2d, count, pixel);
    store_rows<3>(conics, count, conic);
    store_rows<1>(depths, count, &depth);
    store_rows<1>(compensations, count, &shrink);
    alignas(64) float whole[kLanes];
    store(whole, bounded);
    for (int i = 0; i < count; ++i) radii[i] = int32_t(whole[i]);
}

inline void project_backward_lanes(const float *means, const float *quats, const float *scales, int count,
                                   const moegs_camera &camera, const int32_t *radii, const float *v_means2d,
                                   const float *v_depths, const float *v_conics, const float *v_compensations,
                                   float *v_means, float *v_quats, float *v_scales) {
    alignas(64) int32_t radius[kLanes] = {};
    int visible = 0;
    for (int i = 0; i < count; ++i) {
        radius[i] = radii[i];
        visible |= radii[i] > 0;
    }
    if (!visible) {
        std::fill(v_means, v_means + 3 * count, 0.0f);
        std::fill(v_quats, v_quats + 4 * count, 0.0f);
        std::fill(v_scales, v_scales + 3 * count, 0.0f);
        return;
    }
    ProjectionLanes g;
    g.compute(means, quats, scales, count, camera);
    const float fx = camera.intrinsics[0], fy = camera.intrinsics[4];
    Floats v_pixel[2] = {}, v_depth{}, v_conic[3] = {};
    if (v_means2d) load_rows<2>(v_means2d, count, v_pixel);
    if (v_depths) load_rows<1>(v_depths, count, &v_depth);
    if (v_conics) load_rows<3>(v_conics, count, v_conic);

    // Inverse of the covariance: dL/dcov = -Q (dL/dQ) Q with the symmetric Q = [[a, b], [b, c]].
    const Floats inv_det = splat(1.0f) / g.det;
    const Floats a = g.c11 * inv_det, b = (0.0f - g.c01) * inv_det, c = g.c00 * inv_det;
    const Floats h = 0.5f * v_conic[1];
    const Floats s00 = v_conic[0] * a + h * b, s01 = v_conic[0] * b + h * c;
    const Floats s10 = h * a + v_conic[2] * b, s11 = h * b + v_conic[2] * c;
    Floats v_c00 = 0.0f - (a * s00 + b * s10);
    Floats v_c01 = 0.0f - (a * s01 + b * s11);
    Floats v_c11 = 0.0f - (b * s01 + c * s11);
    if (v_compensations && camera.antialiased) {
        Floats v_shrink;
        load_rows<1>(v_compensations, count, &v_shrink);
        const Floats shrink = square_root(g.det_sharp * inv_det);
        const Floats v_square = 0.5f * v_shrink / (shrink + splat(1e-6f));
        const Floats lost = (g.det - g.det_sharp) * inv_det, blur = camera.eps2d * inv_det;
        v_c00 = v_c00 + v_square * (lost * a - blur);
        v_c01 = v_c01 + v_square * (lost * b);
        v_c11 = v_c11 + v_square * (lost * c - blur);
    }

    // cov = P P^T, P = J V.
    Floats v_factor[2][3], v_view[3][3];
    Floats v_j00{}, v_j02{}, v_j11{}, v_j12{};
    for (int k = 0; k < 3; ++k) {
        v_factor[0][k] = 2.0f * (v_c00 * g.factor[0][k] + v_c01 * g.factor[1][k]);
        v_factor[1][k] = 2.0f * (v_c01 * g.factor[0][k] + v_c11 * g.factor[1][k]);
        v_view[0][k] = g.j00 * v_factor[0][k];
        v_view[1][k] = g.j11 * v_factor[1][k];
        v_view[2][k] = g.j02 * v_factor[0][k] + g.j12 * v_factor[1][k];
        v_j00 = v_j00 + v_factor[0][k] * g.view[0][k];
        v_j02 = v_j02 + v_factor[0][k] * g.view[2][k];
        v_j11 = v_j11 + v_factor[1][k] * g.view[1][k];
        v_j12 = v_j12 + v_factor[1][k] * g.view[2][k];
    }

    // Camera-space mean: through the pixel position, through J (j02 = -fx x / z^2, or -fx limit / z where the view
    // angle is limited), and through the depth.
    const Floats inv_z2 = g.inv_z * g.inv_z;
    Floats v_x = fx * g.inv_z * v_pixel[0] - keep_if(g.free_x, fx * inv_z2 * v_j02);
    Floats v_y = fy * g.inv_z * v_pixel[1] - keep_if(g.free_y, fy * inv_z2 * v_j12);
    const Floats power_x = select(g.free_x, splat(2.0f), splat(1.0f));
    const Floats power_y = select(g.free_y, splat(2.0f), splat(1.0f));
    Floats v_z = v_depth - inv_z2 * (fx * g.x * v_pixel[0] + fy * g.y * v_pixel[1] + fx * v_j00 + fy * v_j11) -
                 g.inv_z * (power_x * g.j02 * v_j02 + power_y * g.j12 * v_j12);

    const Ints kept = load<Ints>(radius) > Ints{};
    const float *m = camera.viewmat;
    Floats v_mean[3], v_scale[3], v_rotation[3][3], v_quat[4];
    for (int k = 0; k < 3; ++k) v_mean[k] = keep_if(kept, m[k] * v_x + m[4 + k] * v_y + m[8 + k] * v_z);

    // V = R_view R_quat diag(scale).
    for (int col = 0; col < 3; ++col) {
        v_scale[col] = Floats{};
        for (int row = 0; row < 3; ++row) {
            const Floats v_scaled = m[row] * v_view[0][col] + m[4 + row] * v_view[1][col] + m[8 + row] * v_view[2][col];
            v_scale[col] = v_scale[col] + g.rotation[row][col] * v_scaled;
            v_rotation[row][col] = v_scaled * g.scale[col];
        }
        v_scale[col] = keep_if(kept, v_scale[col]);
    }

    // Rotation to unit quaternion to raw quaternion. d = antisymmetric part, s = symmetric part.
    const auto &r = v_rotation;
    const Floats &w = g.quat[0], &i = g.quat[1], &j = g.quat[2], &k = g.quat[3];
    const Floats d0 = r[2][1] - r[1][2], d1 = r[0][2] - r[2][0], d2 = r[1][0] - r[0][1];
    const Floats s0 = r[2][1] + r[1][2], s1 = r[0][2] + r[2][0], s2 = r[1][0] + r[0][1];
    v_quat[0] = 2.0f * (i * d0 + j * d1 + k * d2);
    v_quat[1] = 2.0f * (w * d0 + j * s2 + k * s1 - 2.0f * i * (r[1][1] + r[2][2]));
    v_quat[2] = 2.0f * (w * d1 + i * s2 + k * s0 - 2.0f * j * (r[0][0] + r[2][2]));
    v_quat[3] = 2.0f * (w * d2 + i * s1 + j * s0 - 2.0f * k * (r[0][0] + r[1][1]));
    const Floats along = v_quat[0] * w + v_quat[1] * i + v_quat[2] * j + v_quat[3] * k;
    for (int n = 0; n < 4; ++n) v_quat[n] = keep_if(kept, (v_quat[n] - along * g.quat[n]) * g.inv_norm);

    store_rows<3>(v_means, count, v_mean);
    store_rows<4>(v_quats, count, v_quat);
    store_rows<3>(v_scales, count, v_scale);
}

}  // namespace moegs
