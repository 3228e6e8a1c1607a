// EWA projection of 3D Gaussians to the image plane and its gradient, sixteen Gaussians at a time.
//
// With J the Jacobian of the pinhole projection and U = J R_view R_quat (2x3, columns U_k: the Gaussian's axes on the
// screen), cov = sum_k scale_k^2 U_k U_k^T. Its determinant is the sum of scale_j^2 scale_k^2 (U_j x U_k)^2 over pairs
// of axes (Cauchy-Binet), and det(cov + eps I) = det cov + eps tr cov + eps^2: nothing cancels, however thin the
// Gaussian. The gradient with G = dL/dcov needs only H = U^T G U: dL/dscale_k = 2 scale_k H_kk, and a rotation of the
// Gaussian about its own axis l (j, k the other two) has derivative 2 (scale_j^2 - scale_k^2) H_jk.
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
    Floats quat[4], inv_norm, axes[3][3];       // unit quaternion wxyz; R_view R_quat
    Floats variance[3], scale[3];
    Floats j00, j02, j11, j12;                  // Jacobian
    Floats ux[3], uy[3], cross[3];              // U; cross[l] = U_j x U_k for (j, k, l) cyclic
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
        Floats r[3][3];
        r[0][0] = 1.0f - 2.0f * (j * j + k * k);
        r[0][1] = 2.0f * (i * j - w * k);
        r[0][2] = 2.0f * (i * k + w * j);
        r[1][0] = 2.0f * (i * j + w * k);
        r[1][1] = 1.0f - 2.0f * (i * i + k * k);
        r[1][2] = 2.0f * (j * k - w * i);
        r[2][0] = 2.0f * (i * k - w * j);
        r[2][1] = 2.0f * (j * k + w * i);
        r[2][2] = 1.0f - 2.0f * (i * i + j * j);
        for (int row = 0; row < 3; ++row)
            for (int col = 0; col < 3; ++col)
                axes[row][col] = m[4 * row] * r[0][col] + m[4 * row + 1] * r[1][col] + m[4 * row + 2] * r[2][col];

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
        c00 = c01 = c11 = det_sharp = Floats{};
        for (int n = 0; n < 3; ++n) {
            ux[n] = j00 * axes[0][n] + j02 * axes[2][n];
            uy[n] = j11 * axes[1][n] + j12 * axes[2][n];
            variance[n] = scale[n] * scale[n];
            c00 = c00 + variance[n] * ux[n] * ux[n];
            c01 = c01 + variance[n] * ux[n] * uy[n];
            c11 = c11 + variance[n] * uy[n] * uy[n];
        }
        for (int l = 0; l < 3; ++l) {
            const int first = (l + 1) % 3, second = (l + 2) % 3;
            cross[l] = ux[first] * uy[second] - ux[second] * uy[first];
            det_sharp = det_sharp + (variance[first] * cross[l]) * (variance[second] * cross[l]);
        }
        det = det_sharp + camera.eps2d * (c00 + c11 + splat(camera.eps2d));
        c00 = c00 + splat(camera.eps2d);
        c11 = c11 + splat(camera.eps2d);
    }
};

// Square pixels.
constexpr float kLargestVariance = 1e18f;

inline void project_forward_lanes(const float *means, const float *quats, const float *scales, int count,
                                  const moegs_camera &camera, float *means2d, float *depths, float *conics,
                                  float *compensations, int32_t *radii) {
    ProjectionLanes g;
    g.compute(means, quats, scales, count, camera);
    const float fx = camera.intrinsics[0], fy = camera.intrinsics[4];
    const Floats u = fx * g.x * g.inv_z + splat(camera.intrinsics[2]);
    const Floats v = fy * g.y * g.inv_z + splat(camera.intrinsics[5]);

    Floats reach_x, reach_y;
    if (camera.extent_per_axis) {
        reach_x = round_up(camera.extent_sigmas * square_root(g.c00));
        reach_y = round_up(camera.extent_sigmas * square_root(g.c11));
    } else {
        const Floats mid = 0.5f * (g.c00 + g.c11), half = 0.5f * (g.c00 - g.c11);
        const Floats spread = square_root(maximum(half * half + g.c01 * g.c01, splat(0.01f)));
        reach_x = reach_y = round_up(camera.extent_sigmas * square_root(mid + spread));
    }
    const Floats radius = maximum(reach_x, reach_y);
    const Floats zero{};
    // Comparisons are written so that a NaN anywhere culls. A Gaussian a billion pixels wide is an even veil at best, and
    // float no longer holds the square of its variance.
    const Ints kept = (g.z >= splat(camera.near_plane)) & (g.z <= splat(camera.far_plane)) & (g.det > zero) &
                      (splat(kLargestVariance) > g.c00 + g.c11) &
                      (radius > splat(camera.radius_clip)) & (u + reach_x > zero) & (v + reach_y > zero) &
                      (splat(float(camera.width)) > u - reach_x) & (splat(float(camera.height)) > v - reach_y);

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

    // With Q = cov^-1: W = Q U and S = adj(cov without eps2d) U come from the adjugate, again without cancellation.
    const Floats inv_det = splat(1.0f) / g.det;
    const Floats a = g.c11 * inv_det, b = (0.0f - g.c01) * inv_det, c = g.c00 * inv_det;
    Floats sx[3], sy[3], wx[3], wy[3];
    for (int n = 0; n < 3; ++n) {
        const int next = (n + 1) % 3, previous = (n + 2) % 3;
        const Floats from_next = g.variance[next] * g.cross[previous];  // cross[previous] = U_n x U_next
        const Floats from_previous = g.variance[previous] * g.cross[next];  // cross[next] = U_previous x U_n
        sx[n] = from_next * g.uy[next] - from_previous * g.uy[previous];
        sy[n] = from_previous * g.ux[previous] - from_next * g.ux[next];
        wx[n] = inv_det * (sx[n] + camera.eps2d * g.ux[n]);
        wy[n] = inv_det * (sy[n] + camera.eps2d * g.uy[n]);
    }
    // G = -Q (dL/dQ) Q, plus v_square eps2d / det adj(cov without eps2d) Q from shrink^2 = det_sharp / det.
    Floats antialiasing{};
    if (v_compensations && camera.antialiased) {
        Floats v_shrink;
        load_rows<1>(v_compensations, count, &v_shrink);
        const Floats shrink = square_root(g.det_sharp * inv_det);
        antialiasing = 0.5f * camera.eps2d * v_shrink * inv_det / (shrink + splat(1e-6f));
    }

    Floats h[3][3];  // H = U^T G U, upper triangle
    Floats v_j00{}, v_j02{}, v_j11{}, v_j12{};
    for (int n = 0; n < 3; ++n) {
        const Floats half = 0.5f * v_conic[1];
        const Floats gx = antialiasing * sx[n] - (v_conic[0] * wx[n] + half * wy[n]);  // G U_n = Q (gx, gy)
        const Floats gy = antialiasing * sy[n] - (half * wx[n] + v_conic[2] * wy[n]);
        for (int k = n; k < 3; ++k) h[n][k] = wx[k] * gx + wy[k] * gy;
        // dL/dU_n = 2 variance_n G U_n, and U_n = J axes_n.
        const Floats v_ux = 2.0f * g.variance[n] * (a * gx + b * gy), v_uy = 2.0f * g.variance[n] * (b * gx + c * gy);
        v_j00 = v_j00 + v_ux * g.axes[0][n];
        v_j02 = v_j02 + v_ux * g.axes[2][n];
        v_j11 = v_j11 + v_uy * g.axes[1][n];
        v_j12 = v_j12 + v_uy * g.axes[2][n];
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
    Floats v_mean[3], v_scale[3], v_quat[4];
    for (int k = 0; k < 3; ++k) {
        v_mean[k] = keep_if(kept, m[k] * v_x + m[4 + k] * v_y + m[8 + k] * v_z);
        v_scale[k] = keep_if(kept, 2.0f * g.scale[k] * h[k][k]);
    }
    // Derivatives of rotations about the own axes, and dL/dq = 2 q (0, torque) / |q|: a unit quaternion moves by
    // dq = q (0, angle / 2), and changing its length changes nothing.
    const Floats torque_x = 2.0f * (g.variance[1] - g.variance[2]) * h[1][2];
    const Floats torque_y = 2.0f * (g.variance[2] - g.variance[0]) * h[0][2];
    const Floats torque_z = 2.0f * (g.variance[0] - g.variance[1]) * h[0][1];
    const Floats &w = g.quat[0], &i = g.quat[1], &j = g.quat[2], &k = g.quat[3];
    v_quat[0] = 0.0f - (i * torque_x + j * torque_y + k * torque_z);
    v_quat[1] = w * torque_x + j * torque_z - k * torque_y;
    v_quat[2] = w * torque_y + k * torque_x - i * torque_z;
    v_quat[3] = w * torque_z + i * torque_y - j * torque_x;
    for (int n = 0; n < 4; ++n) v_quat[n] = keep_if(kept, 2.0f * v_quat[n] * g.inv_norm);

    store_rows<3>(v_means, count, v_mean);
    store_rows<4>(v_quats, count, v_quat);
    store_rows<3>(v_scales, count, v_scale);
}

}  // namespace moegs
