// One Gaussian from the world to the screen, and the tiles it may show in. For GPU and host.
//
// The EWA approximation as cpu_projection.h explains it: with J the Jacobian of the pinhole projection and U = J R_view
// R_quat, cov = sum_k scale_k^2 U_k U_k^T, whose determinant is a sum of squares (Cauchy-Binet), so that nothing cancels.
#pragma once

#include "mixture_shared.h"

namespace moegs_mixture {

enum class Outcome { kDrawn, kCulled, kBadExpert };

// Columns of R_view R_quat: the Gaussian's axes in camera space.
MOEGS_SHARED void camera_axes(const float *viewmat, const float *quat, float axes[3][3]) {
    const float norm = sqrtf(quat[0] * quat[0] + quat[1] * quat[1] + quat[2] * quat[2] + quat[3] * quat[3]);
    const float inverse = 1.0f / larger(norm, 1e-12f);
    const float w = quat[0] * inverse, x = quat[1] * inverse, y = quat[2] * inverse, z = quat[3] * inverse;
    const float rotation[3][3] = {
        {1.0f - 2.0f * (y * y + z * z), 2.0f * (x * y - w * z), 2.0f * (x * z + w * y)},
        {2.0f * (x * y + w * z), 1.0f - 2.0f * (x * x + z * z), 2.0f * (y * z - w * x)},
        {2.0f * (x * z - w * y), 2.0f * (y * z + w * x), 1.0f - 2.0f * (x * x + y * y)},
    };
    for (int row = 0; row < 3; ++row)
        for (int column = 0; column < 3; ++column)
            axes[row][column] = viewmat[4 * row] * rotation[0][column] + viewmat[4 * row + 1] * rotation[1][column] +
                                viewmat[4 * row + 2] * rotation[2][column];
}

// Covariance on the screen before eps2d, and its determinant.
struct ScreenCovariance {
    float xx = 0.0f, xy = 0.0f, yy = 0.0f, determinant = 0.0f;
};

// The Jacobian is evaluated at most this share of the image beyond its border (gsplat limits the view angle there).
constexpr float kMargin = 0.15f;
// Square pixels; float does not hold the square of more.
constexpr float kLargestVariance = 1e18f;

MOEGS_SHARED ScreenCovariance screen_covariance(const moegs_mixture_scene &scene, const float *quat,
                                                const float *scale, const float *point) {
    const float *viewmat = scene.viewmat, *intrinsics = scene.intrinsics;
    const float fx = intrinsics[0], fy = intrinsics[4], cx = intrinsics[2], cy = intrinsics[5];
    const float width = float(scene.width), height = float(scene.height), inverse_z = 1.0f / point[2];
    const float slope_x = clamped(point[0] * inverse_z, (-cx - kMargin * width) / fx, (width - cx + kMargin * width) / fx);
    const float slope_y =
        clamped(point[1] * inverse_z, (-cy - kMargin * height) / fy, (height - cy + kMargin * height) / fy);
    const float jx = fx * inverse_z, jy = fy * inverse_z;

    float axes[3][3], u[3], v[3], variance[3];
    camera_axes(viewmat, quat, axes);
    ScreenCovariance covariance;
    for (int k = 0; k < 3; ++k) {
        u[k] = jx * (axes[0][k] - slope_x * axes[2][k]);
        v[k] = jy * (axes[1][k] - slope_y * axes[2][k]);
        variance[k] = scale[k] * scale[k];
        covariance.xx += variance[k] * u[k] * u[k];
        covariance.xy += variance[k] * u[k] * v[k];
        covariance.yy += variance[k] * v[k] * v[k];
    }
    for (int k = 0; k < 3; ++k) {
        const int next = (k + 1) % 3;
        const float area = u[k] * v[next] - u[next] * v[k];
        covariance.determinant += (variance[k] * area) * (variance[next] * area);
    }
    return covariance;
}

// Tiles of the box around the ellipse alpha >= 1/255, cut with gsplat's square of 3 sigma. Leaving out the others changes
// no pixel: a pixel sees only the square's tiles, and outside the ellipse alpha is too small to count. The margins
// are wider than rounding can be.
MOEGS_SHARED TileRectangle listed_tiles(const moegs_mixture_scene &scene, const Splat &splat, float variance_x,
                                        float variance_y, float radius) {
    const float reach = 2.0f * larger(logf(255.0f * splat.opacity) + 1e-3f, 0.0f);
    const float half_x = sqrtf(reach * variance_x) * 1.0001f + 0.01f + 1e-6f * fabsf(splat.x);
    const float half_y = sqrtf(reach * variance_y) * 1.0001f + 0.01f + 1e-6f * fabsf(splat.y);
    constexpr float kPerTile = 1.0f / kTile;
    const float across = float(tiles_along(scene.width)), down = float(tiles_along(scene.height));
    // From the first to the last pixel whose centre is in the box.
    const float x0 = larger(floorf(splat.x * kPerTile - radius * kPerTile),
                            floorf(ceilf(splat.x - half_x - 0.5f) * kPerTile));
    const float y0 = larger(floorf(splat.y * kPerTile - radius * kPerTile),
                            floorf(ceilf(splat.y - half_y - 0.5f) * kPerTile));
    const float x1 = smaller(ceilf(splat.x * kPerTile + radius * kPerTile),
                             floorf(floorf(splat.x + half_x - 0.5f) * kPerTile) + 1.0f);
    const float y1 = smaller(ceilf(splat.y * kPerTile + radius * kPerTile),
                             floorf(floorf(splat.y + half_y - 0.5f) * kPerTile) + 1.0f);
    const bool nowhere = !(larger(x0, 0.0f) < smaller(x1, across) && larger(y0, 0.0f) < smaller(y1, down));
    if (nowhere) return {0, 0, 0, 0};
    return {uint16_t(larger(x0, 0.0f)), uint16_t(larger(y0, 0.0f)), uint16_t(smaller(x1, across)),
            uint16_t(smaller(y1, down))};
}

// Gaussian `index` of the scene. What is not drawn touches no tile, and its splat is not written.
MOEGS_SHARED Outcome project_gaussian(const moegs_mixture_scene &scene, int64_t index, Splat &splat,
                                      TileRectangle &tiles) {
    tiles = {0, 0, 0, 0};
    const int32_t expert = scene.expert_ids[index];
    if (expert < 0 || expert >= scene.num_experts) return Outcome::kBadExpert;
    const moegs_mixture_projection &how = scene.projections[expert];

    const float *m = scene.viewmat, *mean = scene.means + 3 * index;
    float point[3];
    for (int row = 0; row < 3; ++row)
        point[row] = m[4 * row] * mean[0] + m[4 * row + 1] * mean[1] + m[4 * row + 2] * mean[2] + m[4 * row + 3];
    const float z = point[2];
    // Conditions here and below are written so that a NaN anywhere culls.
    if (!(z >= how.near_plane && z <= how.far_plane)) return Outcome::kCulled;

    const float x = scene.intrinsics[0] * point[0] / z + scene.intrinsics[2];
    const float y = scene.intrinsics[4] * point[1] / z + scene.intrinsics[5];
    const ScreenCovariance sharp = screen_covariance(scene, scene.quats + 4 * index, scene.scales + 3 * index, point);
    const float xx = sharp.xx + how.eps2d, yy = sharp.yy + how.eps2d, xy = sharp.xy;
    const float determinant = sharp.determinant + how.eps2d * (sharp.xx + sharp.yy + how.eps2d);
    const float middle = 0.5f * (xx + yy), half = 0.5f * (xx - yy);
    const float radius = ceilf(3.0f * sqrtf(middle + sqrtf(larger(half * half + xy * xy, 0.01f))));
    const bool on_screen = x + radius > 0.0f && x - radius < float(scene.width) && y + radius > 0.0f &&
                           y - radius < float(scene.height);
    const bool sound = determinant > 0.0f && xx + yy < kLargestVariance;
    if (!(sound && radius > how.radius_clip && on_screen)) return Outcome::kCulled;

    const float compensation = how.antialiased ? sqrtf(sharp.determinant / determinant) : 1.0f;
    const float opacity = scene.opacities[index] * compensation;
    if (!(opacity >= 0.999f * kMinAlpha)) return Outcome::kCulled;  // compositing decides about the last per mille

    splat.x = x;
    splat.y = y;
    splat.slope = xy / yy;
    splat.half_a = 0.5f * yy / determinant;
    splat.half_d = 0.5f / yy;
    splat.opacity = opacity;
    splat.depth = z;
    for (int channel = 0; channel < 3; ++channel) {
        splat.color[channel] = scene.colors[3 * index + channel];
        splat.weights[channel] = scene.weights[3 * index + channel];
        splat.unused[channel] = 0.0f;
    }
    tiles = listed_tiles(scene, splat, xx, yy, radius);
    return tiles.tiles() > 0 ? Outcome::kDrawn : Outcome::kCulled;
}

}  // namespace moegs_mixture
