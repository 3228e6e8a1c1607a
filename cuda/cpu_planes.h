// Features of points out of a HexPlane level: the product over three planes, looked up bilinearly, and three lines,
// looked up linearly (a space-time plane at one time for all points), and its gradient. The twin is
// plane_features_torch of experts/fields/hexplane.py.
//
// Channels lie innermost, so a lookup reads rows. The gradient is made in two passes: what each of a point's six
// lookups gets, then plane by plane its sum over the points, in their order: no two threads ever add to one place, and
// the sums do not depend on their number.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu_lanes.h"
#include "cpu_memory.h"
#include "cpu_parallel.h"

namespace moegs {

constexpr int kPlanes = 3, kLookups = 2 * kPlanes;
constexpr int kPlaneAxes[kPlanes][2] = {{0, 1}, {0, 2}, {1, 2}};  // along the columns, along the rows
constexpr int64_t kPointsAtATime = 512;

struct PlaneLevel {
    int64_t count;
    int32_t channels, size;  // cells per axis
    const float *points;     // [count, 3] in [-1, 1], clamped to it
    const float *planes;     // [3, size, size, channels]: rows along the second axis of a pair, columns along the first
    const float *lines;      // [3, size, channels]
};

// Where a coordinate falls between two cells.
struct Between {
    int64_t low, high;
    float share;   // of the upper cell
    float slope;   // cells per unit of the coordinate; 0 where it is clamped

    MOEGS_INLINE Between(float coordinate, int32_t size) {
        const float last = float(size - 1), position = 0.5f * (coordinate + 1.0f) * last;
        // Written so that NaN is clamped too: it must not become an index.
        const float inside = position > 0.0f ? std::min(position, last) : 0.0f;
        slope = position > 0.0f && position < last ? 0.5f * last : 0.0f;
        low = std::min(int64_t(inside), int64_t(size) - 1);
        high = std::min(low + 1, int64_t(size) - 1);
        share = inside - float(low);
    }
};

// The corners of a lookup and their weights; a line has two corners.
struct Lookup {
    int64_t corner[4];  // offsets in floats
    float weight[4], along_x[4], along_y[4];  // weights, and their change along the first and the second axis
};

MOEGS_INLINE Lookup plane_lookup(const Between &x, const Between &y, int32_t size, int32_t channels) {
    Lookup l;
    const int64_t rows[2] = {y.low, y.high}, columns[2] = {x.low, x.high};
    const float by_y[2] = {1.0f - y.share, y.share}, by_x[2] = {1.0f - x.share, x.share};
    for (int i = 0; i < 4; ++i) {
        const int r = i / 2, c = i % 2;
        l.corner[i] = (rows[r] * size + columns[c]) * channels;
        l.weight[i] = by_y[r] * by_x[c];
        l.along_x[i] = (c ? x.slope : -x.slope) * by_y[r];
        l.along_y[i] = (r ? y.slope : -y.slope) * by_x[c];
    }
    return l;
}

MOEGS_INLINE Lookup line_lookup(const Between &x, int32_t channels) {
    Lookup l = {};
    l.corner[0] = x.low * channels;
    l.corner[1] = x.high * channels;
    l.weight[0] = 1.0f - x.share;
    l.weight[1] = x.share;
    l.along_x[0] = -x.slope;
    l.along_x[1] = x.slope;
    return l;
}

// All six lookups of a point, planes first.
struct PointLookups {
    Lookup lookup[kLookups];
    const float *table[kLookups];

    MOEGS_INLINE PointLookups(const PlaneLevel &level, int64_t point) {
        const float *p = level.points + 3 * point;
        const Between axes[3] = {{p[0], level.size}, {p[1], level.size}, {p[2], level.size}};
        for (int k = 0; k < kPlanes; ++k) {
            lookup[k] = plane_lookup(axes[kPlaneAxes[k][0]], axes[kPlaneAxes[k][1]], level.size, level.channels);
            table[k] = level.planes + int64_t(k) * level.size * level.size * level.channels;
            lookup[kPlanes + k] = line_lookup(axes[k], level.channels);
            table[kPlanes + k] = level.lines + int64_t(k) * level.size * level.channels;
        }
    }
};

// Up to sixteen channels of a row, from `from` on; lanes beyond `lanes` are zero. Full: there are sixteen.
template <bool Full>
MOEGS_INLINE Floats load_channels(const float *from, int lanes) {
    Floats r = {};
    std::memcpy(&r, from, Full ? sizeof(r) : size_t(lanes) * sizeof(float));
    return r;
}
template <bool Full>
MOEGS_INLINE void store_channels(float *to, const Floats &v, int lanes) {
    std::memcpy(to, &v, Full ? sizeof(v) : size_t(lanes) * sizeof(float));
}

// Calls body(offset, lanes, full) for every sixteen channels.
template <class Body>
MOEGS_INLINE void on_channels(int channels, const Body &body) {
    int c = 0;
    for (; c + kLanes <= channels; c += kLanes) body(c, kLanes, std::true_type{});
    if (c < channels) body(c, channels - c, std::false_type{});
}

// The rows a lookup reads; a plane's four, or a line's two.
template <bool Full>
MOEGS_INLINE void load_corners(const Lookup &l, int corners, const float *table, int lanes, Floats *rows) {
    for (int i = 0; i < corners; ++i) rows[i] = load_channels<Full>(table + l.corner[i], lanes);
}
MOEGS_INLINE Floats weighted(const Floats *rows, int corners, const float *weights) {
    Floats r = weights[0] * rows[0];
    for (int i = 1; i < corners; ++i) r = r + weights[i] * rows[i];
    return r;
}
constexpr int corners_of(int lookup) { return lookup < kPlanes ? 4 : 2; }

inline void planes_forward(const PlaneLevel &level, int64_t begin, int64_t end, int64_t stride, float *features) {
    for (int64_t i = begin; i < end; ++i) {
        const PointLookups point(level, i);
        on_channels(level.channels, [&](int offset, int lanes, auto full) {
            Floats product = splat(1.0f);
            for (int k = 0; k < kLookups; ++k) {
                Floats rows[4];
                load_corners<full>(point.lookup[k], corners_of(k), point.table[k] + offset, lanes, rows);
                product = product * weighted(rows, corners_of(k), point.lookup[k].weight);
            }
            store_channels<full>(features + i * stride + offset, product, lanes);
        });
    }
}

// First pass: the gradient of every lookup of the points, [6, stored points, channels], and that of the points.
inline void planes_backward_points(const PlaneLevel &level, int64_t begin, int64_t end, int64_t stride,
                                   const float *v_features, int64_t stored_from, int64_t stored, float *v_lookups,
                                   float *v_points) {
    for (int64_t i = begin; i < end; ++i) {
        const PointLookups point(level, i);
        on_channels(level.channels, [&](int offset, int lanes, auto full) {
            Floats value[kLookups], gradient[kLookups], along[3] = {};
            Floats rows[kLookups][4];
            for (int k = 0; k < kLookups; ++k) {
                load_corners<full>(point.lookup[k], corners_of(k), point.table[k] + offset, lanes, rows[k]);
                value[k] = weighted(rows[k], corners_of(k), point.lookup[k].weight);
            }
            // Products of the lookups before each, then of those after it: no division, which could be by zero.
            gradient[0] = load_channels<full>(v_features + i * stride + offset, lanes);
            for (int k = 1; k < kLookups; ++k) gradient[k] = gradient[k - 1] * value[k - 1];
            Floats after = value[kLookups - 1];
            for (int k = kLookups - 2; k >= 0; --k) {
                gradient[k] = gradient[k] * after;
                after = after * value[k];
            }
            for (int k = 0; k < kLookups; ++k)
                store_channels<full>(v_lookups + (k * stored + i - stored_from) * level.channels + offset, gradient[k],
                                     lanes);
            for (int k = 0; k < kPlanes; ++k) {
                const Lookup &plane = point.lookup[k], &line = point.lookup[kPlanes + k];
                Floats &x = along[kPlaneAxes[k][0]], &y = along[kPlaneAxes[k][1]];
                x = x + gradient[k] * weighted(rows[k], 4, plane.along_x);
                y = y + gradient[k] * weighted(rows[k], 4, plane.along_y);
                along[k] = along[k] + gradient[kPlanes + k] * weighted(rows[kPlanes + k], 2, line.along_x);
            }
            for (int axis = 0; axis < 3; ++axis) v_points[3 * i + axis] += sum_of_lanes<kLanes>((const float *)&along[axis]);
        });
    }
}

// Second pass: adds to table `k` (planes first) what its lookups got.
inline void planes_backward_table(const PlaneLevel &level, int k, int64_t begin, int64_t end, int64_t stored_from,
                                  int64_t stored, const float *v_lookups, float *v_table) {
    for (int64_t i = begin; i < end; ++i) {
        const float *p = level.points + 3 * i;
        const Lookup l = k < kPlanes ? plane_lookup({p[kPlaneAxes[k][0]], level.size}, {p[kPlaneAxes[k][1]], level.size},
                                                    level.size, level.channels)
                                     : line_lookup({p[k - kPlanes], level.size}, level.channels);
        on_channels(level.channels, [&](int offset, int lanes, auto full) {
            const Floats v =
                load_channels<full>(v_lookups + (k * stored + i - stored_from) * level.channels + offset, lanes);
            for (int corner = 0; corner < corners_of(k); ++corner) {
                float *to = v_table + l.corner[corner] + offset;
                store_channels<full>(to, load_channels<full>(to, lanes) + l.weight[corner] * v, lanes);
            }
        });
    }
}

inline void planes_backward(const PlaneLevel &level, int64_t stride, const float *v_features, int threads,
                            float *v_points, float *v_planes, float *v_lines) {
    const int64_t plane = int64_t(level.size) * level.size * level.channels, line = int64_t(level.size) * level.channels;
    std::memset(v_planes, 0, size_t(kPlanes * plane) * sizeof(float));
    std::memset(v_lines, 0, size_t(kPlanes * line) * sizeof(float));
    const auto table = [&](int64_t k) { return k < kPlanes ? v_planes + k * plane : v_lines + (k - kPlanes) * line; };
    // One thread goes on with a block of points while it is in the cache.
    const int64_t stored = threads > 1 ? level.count : std::min(level.count, kPointsAtATime);
    const Array<float> v_lookups{size_t(kLookups * stored * level.channels)};
    for (int64_t first = 0; first < level.count; first += stored) {
        const int64_t last = std::min(level.count, first + stored);
        on_ranges(last - first, threads, [&](int, int64_t begin, int64_t end) {
            planes_backward_points(level, first + begin, first + end, stride, v_features, first, stored,
                                   v_lookups.data(), v_points);
        });
        on_tasks(kLookups, threads, [&](int64_t k) {
            planes_backward_table(level, int(k), first, last, first, stored, v_lookups.data(), table(k));
        });
    }
}

}  // namespace moegs
