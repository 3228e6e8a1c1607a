// What the forward and backward compositing of one tile share.
//
// A tile is 16 blocks of 4x4 pixels; a block is one `Floats`. Block b covers columns 4 (b % 4) and rows 4 (b / 4) of
// the tile, lane l within it column l % 4 and row l / 4. Per-pixel state lives in arrays of 16 blocks.
#pragma once

#include "cpu_frame.h"
#include "cpu_lanes.h"

namespace moegs {

constexpr int kChannelGroup = 4;  // channel counts without a compiled specialisation are padded to a multiple of this
constexpr int kMaxStaticChannels = 8;

inline int padded_channels(int channels) {
    if (channels <= kMaxStaticChannels) return channels;
    return (channels + kChannelGroup - 1) / kChannelGroup * kChannelGroup;
}

alignas(64) constexpr float kLaneX[kLanes] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
alignas(64) constexpr float kLaneY[kLanes] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
alignas(64) constexpr int32_t kLaneBit[kLanes] = {1,      1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                                                  1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};

struct TilePlace {
    int64_t job;
    int expert, x0, y0, width, height;  // pixels; width and height of the part inside the image
    uint32_t begin, end;                // entries

    TilePlace(const moegs_frame &frame, int64_t job_index) : job(job_index) {
        const int64_t tile = job % frame.tiles();
        expert = int(job / frame.tiles());
        x0 = int(tile % frame.tiles_x) * kTile;
        y0 = int(tile / frame.tiles_x) * kTile;
        width = std::min(kTile, frame.width - x0);
        height = std::min(kTile, frame.height - y0);
        begin = frame.tile_begin[size_t(job)];
        end = frame.tile_begin[size_t(job) + 1];
    }
    // Index of the tile's pixel (x, y) in an array [K,H,W].
    size_t pixel(const moegs_frame &frame, int x, int y) const {
        return (size_t(expert) * size_t(frame.height) + size_t(y0 + y)) * size_t(frame.width) + size_t(x0 + x);
    }
};

// Position of the tile's pixel (x, y) in block order.
inline int block_position(int x, int y) { return ((y / 4) * 4 + x / 4) * kLanes + (y % 4) * 4 + x % 4; }

// Runs body(at, pixel, count) for every row of a block: `count` pixels, at most four, that lie side by side both in block
// order, from position `at` on, and in the image, from index `pixel` of [K,H,W] on.
template <class Body>
MOEGS_INLINE void on_block_rows(const moegs_frame &frame, const TilePlace &tile, const Body &body) {
    for (int y = 0; y < tile.height; ++y)
        for (int x = 0; x < tile.width; x += 4)
            body(block_position(x, y), tile.pixel(frame, x, y), std::min(4, tile.width - x));
}

// Calls move(column, pixel) for every channel of a row of a block: offsets in the tile's sums, where a block's channels are
// vectors, and in the image's row, where a pixel's channels are neighbours. Written so that for a known number of channels
// and whole rows nothing is counted at run time.
template <int StaticChannels, class Move>
MOEGS_INLINE void on_row_channels(int count, int channels, const Move &move) {
    const int known = StaticChannels ? StaticChannels : channels;
    if (count == 4) {
        for (int i = 0; i < 4; ++i)
            for (int k = 0; k < known; ++k) move(k * kLanes + i, i * known + k);
    } else {
        for (int i = 0; i < count; ++i)
            for (int k = 0; k < known; ++k) move(k * kLanes + i, i * known + k);
    }
}

// Pixel centres of the four block columns and rows of a tile.
struct PixelCentres {
    Floats x[4], y[4];
    explicit PixelCentres(const TilePlace &tile) {
        const Floats lane_x = load<Floats>(kLaneX), lane_y = load<Floats>(kLaneY);
        for (int i = 0; i < 4; ++i) {
            x[i] = lane_x + splat(float(tile.x0 + 4 * i) + 0.5f);
            y[i] = lane_y + splat(float(tile.y0 + 4 * i) + 0.5f);
        }
    }
};

// A Gaussian over the pixels of one block.
struct Falloff {
    Floats dx, dy, e, value;  // value = exp(-sigma), or something far below 1/255 where sigma < 0
    MOEGS_INLINE Falloff(const float *record, const Floats &x, const Floats &y) {
        dx = record[kMeanX] - x;
        dy = record[kMeanY] - y;
        e = dx - record[kSlopeX] * dy;
        const Floats form = record[kA] * (e * e) + record[kD] * (dy * dy);
        value = exp2_of_minus(cap_nonnegative(form, 64.0f));
    }
};

// Which of a tile's 16 blocks (one per lane) the ellipse alpha >= 1/255 of a Gaussian touches: the minimum over the
// block's pixel centres of the falloff's quadratic form lies on one of the two sides that face the mean.
struct BlockTest {
    Floats x, y;  // first pixel centre of each block
    explicit BlockTest(const TilePlace &tile) {
        x = 4.0f * load<Floats>(kLaneX) + splat(float(tile.x0) + 0.5f);
        y = 4.0f * load<Floats>(kLaneY) + splat(float(tile.y0) + 0.5f);
    }
    MOEGS_INLINE Ints touched(const float *record) const {
        const Floats high_x = record[kMeanX] - x, high_y = record[kMeanY] - y;
        const Floats low_x = high_x - splat(3.0f), low_y = high_y - splat(3.0f);
        const Floats zero{};
        const Floats near_y = clamp(zero, low_y, high_y), near_x = clamp(zero, low_x, high_x);
        const Floats e1 = clamp(record[kSlopeX] * near_y, low_x, high_x) - record[kSlopeX] * near_y;
        const Floats best_y = clamp(record[kSlopeY] * near_x, low_y, high_y);
        const Floats e2 = near_x - record[kSlopeX] * best_y;
        const Floats form1 = record[kA] * (e1 * e1) + record[kD] * (near_y * near_y);
        const Floats form2 = record[kA] * (e2 * e2) + record[kD] * (best_y * best_y);
        return minimum(form1, form2) <= splat(record[kReach]);
    }
};

}  // namespace moegs
