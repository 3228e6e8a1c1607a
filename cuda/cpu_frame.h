// Binning: which Gaussians touch which 16x16-pixel tile of which expert's image, in depth order.
//
// Visible Gaussians are sorted by depth once (stable radix sort on the float bits; each expert's apart where they lie one
// after the other) and then scattered in that order into one list per (expert, tile), which leaves every list sorted. A
// tile lists a Gaussian when the square of its radius touches the tile AND the bounding box of the ellipse
// alpha >= 1/255 contains one of its pixel centres; the second condition drops only pairs that could not change a pixel.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cpu_lanes.h"
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

// One visible Gaussian, ready for compositing. With dx = mean_x - pixel_x and e = dx - slope_x * dy its falloff is
// 2^-(a e^2 + d dy^2): the completed square of the conic, accurate however thin the ellipse is.
// Records are plain floats at these offsets, followed by the channels.
enum RecordField {
    kMeanX,
    kMeanY,
    kA,        // scaled conic.x
    kSlopeX,   // -conic.y / conic.x
    kD,        // scaled det(conic) / conic.x
    kOpacity,
    kReach,    // a e^2 + d dy^2 where alpha falls to 1/255, with a margin for rounding
    kSlopeY,   // -conic.y / conic.z: the dy that minimises the form at a given dx is slope_y * dx
    kRecordFloats
};

// Where a Gaussian is listed: tiles [x0, x1) x [y0, y1) of one expert's image. All zero when it is not listed.
struct Placement {
    uint16_t x0, y0, x1, y1;
    uint32_t first_row;  // of the gradient rows, one per tile, in tile order
    int32_t expert;
    uint32_t tiles() const { return uint32_t(x1 - x0) * uint32_t(y1 - y0); }
};

// A (Gaussian, tile) pair and the row that will hold its gradient sums.
struct Entry {
    uint32_t gaussian, row;
};

}  // namespace moegs

// Everything a forward pass leaves for its backward pass.
struct moegs_frame {
    int64_t count;                   // Gaussians, culled ones included
    int channels, padded_channels;   // padded to what the compositing loops expect
    int num_experts, width, height, tiles_x, tiles_y;
    int stride;                      // floats per record, channels included
    int64_t num_entries = 0;

    // Gaussians [begin_of_expert[k], begin_of_expert[k + 1]) are expert k's, where they came in that order: then so are the
    // rows of its entries, from tile_begin of its first tile on. Empty where they did not.
    std::vector<int64_t> begin_of_expert;
    moegs::Array<float> records;           // [count, stride], written where listed
    moegs::Array<moegs::Placement> placements;  // [count]
    moegs::Array<uint32_t> tile_begin;     // [K * tiles + 1] first entry of every tile
    moegs::Array<moegs::Entry> entries;    // tile by tile, front to back
    moegs::Array<uint16_t> entry_blocks;   // 4x4 blocks of the tile that the entry's ellipse touches; where reached
    moegs::Array<float> final_transmittance;  // [K * tiles, 256] pixels in block order
    moegs::Array<int32_t> last_entry;      // same shape: last entry (counted in its tile) before the pixel ended, or -1

    int64_t tiles() const { return int64_t(tiles_x) * tiles_y; }
    int64_t jobs() const { return tiles() * num_experts; }
};
