// Binning: which Gaussians touch which 16x16-pixel tile of which expert's image, in depth order.
//
// Visible Gaussians are sorted by depth once (stable radix sort on the float bits), packed into records in that order
// and then scattered into one list per (expert, tile), which keeps every list sorted without sorting it. A tile lists a
// Gaussian when gsplat's 3-sigma square touches the tile AND the bounding box of the ellipse alpha >= 1/255 contains
// one of its pixel centres; the second condition drops only pairs that could not change a pixel.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cpu_memory.h"
#include "cpu_parallel.h"
#include "splat_cpu.h"

namespace moegs {

constexpr int kTile = 16;            // pixels per tile side: part of the culling rule, as in gsplat's default
constexpr int kTilePixels = kTile * kTile;
constexpr int kBlocks = kTilePixels / 16;
constexpr float kMinAlpha = 1.0f / 255.0f;
constexpr float kMaxAlpha = 0.999f;
constexpr float kMinTransmittance = 1e-4f;
constexpr float kHalfLog2E = 0.72134752f;  // exp(-x/2) = 2^(-x * this)

// One visible Gaussian, ready for compositing. With dx = mean_x - pixel_x, e = dx - slope_x * dy,
// 2^-(a e^2 + d dy^2) is its falloff: the completed square of the conic, accurate however thin the ellipse is.
struct Record {
    float mean_x, mean_y;
    float a, slope_x;  // scaled conic.x; -conic.y / conic.x
    float d;           // scaled det(conic) / conic.x
    float opacity;
    float reach;       // a e^2 + d dy^2 where alpha falls to 1/255, with a margin for rounding
    float slope_y;     // -conic.y / conic.z: the dy that minimises the form at a given dx is slope_y * dx
};
constexpr int kRecordFloats = sizeof(Record) / sizeof(float);

struct TileRect {
    uint16_t x0, y0, x1, y1;  // tiles, end exclusive
    uint32_t area() const { return uint32_t(x1 - x0) * uint32_t(y1 - y0); }
};

inline void complete_square(const float *mean2d, const float *conic, float opacity, Record &r) {
    const double a = conic[0], b = conic[1], c = conic[2];
    r.mean_x = mean2d[0];
    r.mean_y = mean2d[1];
    r.a = float(kHalfLog2E * a);
    r.slope_x = float(-b / a);
    r.d = float(kHalfLog2E * (c - b * b / a));
    r.opacity = opacity;
    r.slope_y = float(-b / c);
    const float offset = std::abs(mean2d[0]) + std::abs(mean2d[1]);
    // An indefinite conic (only by rounding) has no bounded ellipse: it is kept everywhere.
    r.reach = r.d > 0 && c > 0 ? std::log2(255.0f * opacity) + 0.02f + 2e-6f * offset : INFINITY;
}

// Tiles along one axis that [low, high] (pixels, relative to tile size `tile`) overlaps, clamped to [0, tiles].
inline int clamp_tile(float tile, int tiles) { return int(std::min(std::max(tile, 0.0f), float(tiles))); }

inline TileRect tiles_of(const Record &r, float cov_xx, float cov_yy, float radius, int tiles_x, int tiles_y) {
    // gsplat's square, with its own order of float operations.
    const float span = radius / kTile, tx = r.mean_x / kTile, ty = r.mean_y / kTile;
    int x0 = clamp_tile(std::floor(tx - span), tiles_x), x1 = clamp_tile(std::ceil(tx + span), tiles_x);
    int y0 = clamp_tile(std::floor(ty - span), tiles_y), y1 = clamp_tile(std::ceil(ty + span), tiles_y);
    if (r.reach < INFINITY) {
        const float unit = r.reach / kHalfLog2E;
        const float half_x = std::sqrt(unit * cov_xx) * 1.0001f + 0.01f, half_y = std::sqrt(unit * cov_yy) * 1.0001f + 0.01f;
        // First and last pixel whose centre the box contains.
        x0 = std::max(x0, clamp_tile(std::floor(std::ceil(r.mean_x - half_x - 0.5f) / kTile), tiles_x));
        y0 = std::max(y0, clamp_tile(std::floor(std::ceil(r.mean_y - half_y - 0.5f) / kTile), tiles_y));
        x1 = std::min(x1, clamp_tile(std::floor(std::floor(r.mean_x + half_x - 0.5f) / kTile) + 1.0f, tiles_x));
        y1 = std::min(y1, clamp_tile(std::floor(std::floor(r.mean_y + half_y - 0.5f) / kTile) + 1.0f, tiles_y));
    }
    if (x1 <= x0 || y1 <= y0) return {0, 0, 0, 0};
    return {uint16_t(x0), uint16_t(y0), uint16_t(x1), uint16_t(y1)};
}

// Bits that order like the float, negative values included.
inline uint32_t sortable_bits(float depth) {
    uint32_t bits;
    std::memcpy(&bits, &depth, sizeof(bits));
    return bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
}

struct KeyedId {
    uint32_t key, id;
};

// Stable least-significant-digit radix sort by key; the result is in `items` (contents of `spare` are lost).
inline void radix_sort(Array<KeyedId> &items, Array<KeyedId> &spare, size_t count) {
    constexpr int kBits = 11, kDigits = 3, kBins = 1 << kBits;
    std::vector<uint32_t> histogram(size_t(kDigits) * kBins, 0);
    for (size_t i = 0; i < count; ++i)
        for (int digit = 0; digit < kDigits; ++digit)
            ++histogram[size_t(digit) * kBins + ((items[i].key >> (digit * kBits)) & (kBins - 1))];
    for (int digit = 0; digit < kDigits; ++digit) {
        uint32_t *bins = histogram.data() + size_t(digit) * kBins;
        const int shift = digit * kBits;
        if (count == 0 || bins[(items[0].key >> shift) & (kBins - 1)] == count) continue;  // one bin holds all
        uint32_t start = 0;
        for (int bin = 0; bin < kBins; ++bin) {
            const uint32_t size = bins[bin];
            bins[bin] = start;
            start += size;
        }
        const KeyedId *from = items.data();
        KeyedId *to = spare.data();
        for (size_t i = 0; i < count; ++i) to[bins[(from[i].key >> shift) & (kBins - 1)]++] = from[i];
        std::swap(items, spare);
    }
}

}  // namespace moegs

// Everything a forward pass leaves for its backward pass. "Rank" is the index of a visible Gaussian in depth order;
// an "entry" is one (Gaussian, tile) pair, stored tile by tile.
struct moegs_frame {
    int64_t count;                 // Gaussians, culled ones included
    int channels, padded_channels;  // padded to what the compositing loops expect
    int num_experts, width, height, tiles_x, tiles_y;
    int64_t visible = 0, entries = 0;
    int stride;                    // floats per packed record: Record, then channels

    moegs::Array<int32_t> gaussian_of_rank;
    moegs::Array<float> records;       // [visible, stride]
    moegs::Array<uint32_t> first_row;  // [visible + 1] gradient rows of a rank: one per entry, in tile order
    moegs::Array<uint32_t> tile_begin;  // [K * tiles + 1]
    moegs::Array<uint32_t> entry_rank, entry_row;  // [entries]
    moegs::Array<uint16_t> entry_blocks;  // [entries] 4x4 blocks of the tile the ellipse touches; set where reached
    moegs::Array<float> final_transmittance;  // [K * tiles, 256] pixels in block order
    moegs::Array<int32_t> last_entry;  // same shape: last entry (relative to its tile) before the pixel ended, or -1

    int64_t tiles() const { return int64_t(tiles_x) * tiles_y; }
    int64_t jobs() const { return tiles() * num_experts; }
};

namespace moegs {

struct SceneInput {
    const float *means2d, *conics, *opacities, *values, *depths;
    const int32_t *radii, *expert_ids;
};

// Fills every binning member of `frame`; returns a moegs status.
inline int32_t bin_gaussians(moegs_frame &frame, const SceneInput &in, int threads) {
    const int64_t n = frame.count, tiles = frame.tiles();
    Array<TileRect> rects{size_t(n)};
    std::vector<int64_t> visible_of(size_t(threads) + 1, 0);
    std::atomic<bool> bad_expert{false};
    on_ranges(n, threads, [&](int worker, int64_t begin, int64_t end) {
        int64_t visible = 0;
        for (int64_t g = begin; g < end; ++g) {
            rects[size_t(g)] = {0, 0, 0, 0};
            const float opacity = in.opacities[g], *conic = in.conics + 3 * g;
            if (in.radii[g] <= 0 || !(opacity >= kMinAlpha * 0.999f) || !(conic[0] > 0)) continue;
            if (in.expert_ids && uint32_t(in.expert_ids[g]) >= uint32_t(frame.num_experts)) {
                bad_expert = true;
                continue;
            }
            Record record;
            complete_square(in.means2d + 2 * g, conic, opacity, record);
            // Inverse of the conic: cov_yy = 1 / (det / a), cov_xx = c cov_yy / a.
            const float cov_yy = kHalfLog2E / record.d, cov_xx = conic[2] * cov_yy / conic[0];
            const TileRect rect = tiles_of(record, cov_xx, cov_yy, float(in.radii[g]), frame.tiles_x, frame.tiles_y);
            rects[size_t(g)] = rect;
            visible += rect.area() > 0;
        }
        visible_of[size_t(worker) + 1] = visible;
    });
    if (bad_expert) return MOEGS_BAD_EXPERT_ID;
    for (int worker = 0; worker < threads; ++worker) visible_of[size_t(worker) + 1] += visible_of[size_t(worker)];
    frame.visible = visible_of[size_t(threads)];

    const size_t visible = size_t(frame.visible);
    Array<KeyedId> order{visible}, spare{visible};
    on_ranges(n, threads, [&](int worker, int64_t begin, int64_t end) {
        size_t slot = size_t(visible_of[size_t(worker)]);
        for (int64_t g = begin; g < end; ++g)
            if (rects[size_t(g)].area() > 0) order[slot++] = {sortable_bits(in.depths[g]), uint32_t(g)};
    });
    radix_sort(order, spare, visible);

    // Pack records and count: each worker counts its own range of ranks per (expert, tile), so that afterwards every
    // worker knows where in each list its share begins.
    const size_t jobs = size_t(frame.jobs());
    frame.gaussian_of_rank = Array<int32_t>(visible);
    frame.records = Array<float>(visible * size_t(frame.stride));
    frame.first_row = Array<uint32_t>(visible + 1);
    frame.tile_begin = Array<uint32_t>(jobs + 1);
    Array<uint32_t> cursor{jobs * size_t(threads)};
    std::vector<uint64_t> rows_of(size_t(threads) + 1, 0);
    on_ranges(frame.visible, threads, [&](int worker, int64_t begin, int64_t end) {
        uint32_t *counts = cursor.data() + size_t(worker) * jobs;
        std::fill(counts, counts + jobs, 0u);
        uint64_t rows = 0;
        for (int64_t rank = begin; rank < end; ++rank) {
            const size_t g = order[size_t(rank)].id;
            frame.gaussian_of_rank[size_t(rank)] = int32_t(g);
            float *packed = frame.records.data() + size_t(rank) * size_t(frame.stride);
            Record record;
            complete_square(in.means2d + 2 * g, in.conics + 3 * g, in.opacities[g], record);
            std::memcpy(packed, &record, sizeof(Record));
            for (int k = 0; k < frame.channels; ++k)
                packed[kRecordFloats + k] = in.values[g * size_t(frame.channels) + size_t(k)];
            for (int k = kRecordFloats + frame.channels; k < frame.stride; ++k) packed[k] = 0.0f;
            const TileRect rect = rects[g];
            const size_t image = in.expert_ids ? size_t(in.expert_ids[g]) * size_t(tiles) : 0;
            for (int y = rect.y0; y < rect.y1; ++y)
                for (int x = rect.x0; x < rect.x1; ++x) ++counts[image + size_t(y) * size_t(frame.tiles_x) + size_t(x)];
            rows += rect.area();
        }
        rows_of[size_t(worker) + 1] = rows;
    });
    for (int worker = 0; worker < threads; ++worker) rows_of[size_t(worker) + 1] += rows_of[size_t(worker)];
    if (rows_of[size_t(threads)] > 0x7fffffffu) return MOEGS_TOO_LARGE;
    frame.entries = int64_t(rows_of[size_t(threads)]);
    uint32_t start = 0;
    for (size_t job = 0; job < jobs; ++job) {
        frame.tile_begin[job] = start;
        for (int worker = 0; worker < threads; ++worker) {
            uint32_t &slot = cursor[size_t(worker) * jobs + job];
            const uint32_t size = slot;
            slot = start;
            start += size;
        }
    }
    frame.tile_begin[jobs] = start;

    frame.entry_rank = Array<uint32_t>(size_t(frame.entries));
    frame.entry_row = Array<uint32_t>(size_t(frame.entries));
    on_ranges(frame.visible, threads, [&](int worker, int64_t begin, int64_t end) {
        uint32_t *next = cursor.data() + size_t(worker) * jobs;
        uint32_t row = uint32_t(rows_of[size_t(worker)]);
        for (int64_t rank = begin; rank < end; ++rank) {
            frame.first_row[size_t(rank)] = row;
            const size_t g = size_t(frame.gaussian_of_rank[size_t(rank)]);
            const TileRect rect = rects[g];
            const size_t image = in.expert_ids ? size_t(in.expert_ids[g]) * size_t(tiles) : 0;
            for (int y = rect.y0; y < rect.y1; ++y)
                for (int x = rect.x0; x < rect.x1; ++x) {
                    const uint32_t entry = next[image + size_t(y) * size_t(frame.tiles_x) + size_t(x)]++;
                    frame.entry_rank[entry] = uint32_t(rank);
                    frame.entry_row[entry] = row++;
                }
        }
    });
    frame.first_row[visible] = uint32_t(frame.entries);
    return MOEGS_OK;
}

}  // namespace moegs
