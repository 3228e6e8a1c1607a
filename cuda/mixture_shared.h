// What the code shared by GPU and host is written in, and what both hold of a Gaussian on the screen.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "mixture.h"

// Before a function that is compiled for both.
#ifdef __CUDACC__
#define MOEGS_SHARED __host__ __device__ __forceinline__
#else
#define MOEGS_SHARED inline
#endif

namespace moegs_mixture {

constexpr int kTile = 16;            // side of a tile in pixels
constexpr int kMaxSide = 1 << 19;    // pixels, so that tiles fit 16 bits
constexpr float kMaxAlpha = 0.999f;
constexpr float kMinAlpha = 1.0f / 255.0f;
constexpr float kMinTransmittance = 1e-4f;
constexpr float kMinCover = 1e-10f;  // pixels less covered have no depth

MOEGS_SHARED float smaller(float a, float b) { return a < b ? a : b; }
MOEGS_SHARED float larger(float a, float b) { return a > b ? a : b; }
MOEGS_SHARED float clamped(float value, float low, float high) { return smaller(larger(value, low), high); }

// e^x for the falloff of a Gaussian; on the GPU its fast unit, 2 units in the last place off for what is visible.
MOEGS_SHARED float falloff_exp(float x) {
#ifdef __CUDA_ARCH__
    return __expf(x);
#else
    return expf(x);
#endif
}

// All that compositing reads of a Gaussian: 64 bytes, fetched at once.
//
// The exponent of its falloff at (x + dx, y + dy) is -(half_a (dx - slope dy)^2 + half_d dy^2), a sum of squares: unlike
// the polynomial in dx and dy it loses no digits where the ellipse is long and thin.
struct alignas(16) Splat {
    float x, y;               // centre in pixels
    float slope;              // cov_xy / cov_yy
    float half_a, half_d;     // half of conic_xx, and 1 / (2 cov_yy)
    float opacity;            // compensation applied
    float depth;
    float color[3];
    float weights[3];         // w, w_dir, t * w_time
    float unused[3];
};

// Tiles a Gaussian is listed in, ends exclusive.
struct alignas(8) TileRectangle {
    uint16_t x0, y0, x1, y1;
    MOEGS_SHARED int64_t tiles() const { return int64_t(x1 - x0) * (y1 - y0); }
};

MOEGS_SHARED int tiles_along(int pixels) { return (pixels + kTile - 1) / kTile; }

// Lists are numbered expert by expert, row by row.
MOEGS_SHARED int64_t number_of_lists(const moegs_mixture_scene &scene) {
    return int64_t(scene.num_experts) * tiles_along(scene.width) * tiles_along(scene.height);
}

// Bits that order as the float does; for numbers of at least 0.
MOEGS_SHARED uint32_t depth_key(float depth) {
    uint32_t bits;
    memcpy(&bits, &depth, sizeof bits);
    return bits;
}
constexpr uint32_t kBehindAll = 0xffffffffu;  // key of what is not drawn

}  // namespace moegs_mixture
