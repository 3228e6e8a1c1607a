// The stages of binning; see cpu_frame.h for the result and the rule.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpu_frame.h"
#include "cpu_parallel.h"

namespace moegs {

struct SceneInput {
    const moegs_parts &parts;
    const float *means2d, *conics, *depths;
    const int32_t *radii, *expert_ids;
};

// log2 of positive normal numbers within 0.01: exponent plus a parabola for the mantissa.
MOEGS_INLINE float coarse_log2(float x) {
    const int32_t bits = bits_as<int32_t>(x);
    const float mantissa = bits_as<float>((bits & 0x007fffff) | 0x3f800000);
    return float((bits >> 23) - 128) + (mantissa * (-1.0f / 3.0f) + 2.0f) * mantissa - 2.0f / 3.0f;
}

// Sixteen Gaussians' records (without channels) and tile rectangles, structure of arrays. Plain loops over lanes that
// compilers turn into vector code.
struct RecordLanes {
    float fields[kRecordFloats][kLanes];
    float x0[kLanes], x1[kLanes], y0[kLanes], y1[kLanes];  // tiles, end exclusive, clamped to the image
    int32_t listed[kLanes];

    // `opacities` of the Gaussians from `first` on.
    void compute(const SceneInput &in, const float *opacities, int64_t first, int count, float tiles_x, float tiles_y) {
        float a[kLanes], b[kLanes], c[kLanes], o[kLanes], x[kLanes], y[kLanes], radius[kLanes];
        for (int i = 0; i < kLanes; ++i) {
            const int own = std::min(i, count - 1);
            const int64_t g = first + own;
            x[i] = in.means2d[2 * g];
            y[i] = in.means2d[2 * g + 1];
            a[i] = in.conics[3 * g];
            b[i] = in.conics[3 * g + 1];
            c[i] = in.conics[3 * g + 2];
            o[i] = opacities[own];
            radius[i] = i < count ? float(in.radii[g]) : 0.0f;
        }
        for (int i = 0; i < kLanes; ++i) {
            // In double: c - b^2 / a loses its digits where the ellipse is thin.
            const double inv_a = 1.0 / double(a[i]);
            const float d = float(double(c[i]) - double(b[i]) * double(b[i]) * inv_a);
            const float slope_x = float(-double(b[i]) * inv_a);
            const float reach = coarse_log2(255.0f * o[i]) + 0.03f + 2e-6f * (std::abs(x[i]) + std::abs(y[i]));
            const bool ellipse = d > 0.0f && c[i] > 0.0f;
            fields[kMeanX][i] = x[i];
            fields[kMeanY][i] = y[i];
            fields[kA][i] = kHalfLog2E * a[i];
            fields[kSlopeX][i] = slope_x;
            fields[kD][i] = kHalfLog2E * d;
            fields[kOpacity][i] = o[i];
            // An indefinite conic (only by rounding) has no bounded ellipse: nothing of it is cut away.
            fields[kReach][i] = ellipse ? reach : kNoReach;
            fields[kSlopeY][i] = -b[i] / c[i];
            // Half sides of the ellipse's bounding box: the covariance is cov_yy = 1 / d, cov_xx = c cov_yy / a.
            const float span = radius[i] * (1.0f / kTile), unit = reach / (kHalfLog2E * d);
            const float half_x = ellipse ? std::sqrt(unit * c[i] * float(inv_a)) * 1.0001f + 0.01f : kNoReach;
            const float half_y = ellipse ? std::sqrt(unit) * 1.0001f + 0.01f : kNoReach;
            const float tx = x[i] * (1.0f / kTile), ty = y[i] * (1.0f / kTile);
            // First and last pixel whose centre the box contains, as tiles; and gsplat's square, in its own arithmetic.
            const float low_x = std::floor(std::ceil(x[i] - half_x - 0.5f) * (1.0f / kTile));
            const float low_y = std::floor(std::ceil(y[i] - half_y - 0.5f) * (1.0f / kTile));
            const float high_x = std::floor(std::floor(x[i] + half_x - 0.5f) * (1.0f / kTile)) + 1.0f;
            const float high_y = std::floor(std::floor(y[i] + half_y - 0.5f) * (1.0f / kTile)) + 1.0f;
            x0[i] = larger(larger(std::floor(tx - span), low_x), 0.0f);
            y0[i] = larger(larger(std::floor(ty - span), low_y), 0.0f);
            x1[i] = smaller(smaller(std::ceil(tx + span), high_x), tiles_x);
            y1[i] = smaller(smaller(std::ceil(ty + span), high_y), tiles_y);
            listed[i] = int32_t(radius[i] > 0.0f) & int32_t(o[i] >= kMinAlpha * 0.999f) & int32_t(a[i] > 0.0f) &
                        int32_t(x0[i] < x1[i]) & int32_t(y0[i] < y1[i]);
        }
    }

private:
    static constexpr float kNoReach = 1e30f;
    static float larger(float a, float b) { return a > b ? a : b; }
    static float smaller(float a, float b) { return a < b ? a : b; }
};

// Bits that order like the float, negative values included.
inline uint32_t sortable_bits(float depth) {
    const uint32_t bits = bits_as<uint32_t>(depth);
    return bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
}

struct KeyedId {
    uint32_t key, id;
};

// Stable least-significant-digit radix sort by key; the result is in `items` (contents of `spare` are lost).
inline void radix_sort(KeyedId *items, KeyedId *spare, size_t count) {
    uint32_t low = 0xffffffffu, high = 0;
    for (size_t i = 0; i < count; ++i) {
        low = std::min(low, items[i].key);
        high = std::max(high, items[i].key);
    }
    if (count < 2 || low == high) return;
    // Depths of a scene span few octaves: as few digits as their range needs.
    const int range_bits = 32 - __builtin_clz(high - low);
    const int digits = (range_bits + 12) / 13, bits = (range_bits + digits - 1) / digits;
    const size_t bins = size_t(1) << bits;
    std::vector<uint32_t> start(bins * size_t(digits), 0);
    for (size_t i = 0; i < count; ++i)
        for (int digit = 0; digit < digits; ++digit)
            ++start[size_t(digit) * bins + (((items[i].key - low) >> (digit * bits)) & (bins - 1))];
    for (int digit = 0; digit < digits; ++digit) {
        uint32_t *next = start.data() + size_t(digit) * bins;
        uint32_t total = 0;
        for (size_t bin = 0; bin < bins; ++bin) {
            const uint32_t size = next[bin];
            next[bin] = total;
            total += size;
        }
        const KeyedId *from = digit % 2 ? spare : items;
        KeyedId *to = digit % 2 ? items : spare;
        const int shift = digit * bits;
        for (size_t i = 0; i < count; ++i) to[next[((from[i].key - low) >> shift) & (bins - 1)]++] = from[i];
    }
    if (digits % 2) std::memcpy(items, spare, count * sizeof(KeyedId));
}

// Corner counts of rectangles: after integration along both axes cell (x, y) holds how many rectangles cover it.
struct CoverCounts {
    int width;  // cells per row, one more than tiles_x
    int64_t image;  // cells per expert
    CoverCounts(const moegs_frame &frame) : width(frame.tiles_x + 1), image(int64_t(width) * (frame.tiles_y + 1)) {}
    void add(uint32_t *cells, const Placement &place) const {
        uint32_t *top = cells + place.expert * image + int64_t(place.y0) * width;
        uint32_t *bottom = cells + place.expert * image + int64_t(place.y1) * width;
        ++top[place.x0];
        --top[place.x1];
        --bottom[place.x0];
        ++bottom[place.x1];
    }
    void integrate(uint32_t *cells, int tiles_y) const {
        for (int y = 0; y < tiles_y; ++y) {
            uint32_t row = 0;
            for (int x = 0; x < width; ++x) {
                row += cells[y * width + x];
                cells[y * width + x] = row + (y ? cells[(y - 1) * width + x] : 0);
            }
        }
    }
};

// Channels of the Gaussian in `row` of a part: its blocks' side by side, then zeros.
inline void gather_channels(const moegs_frame &frame, const moegs_parts &parts, const moegs_part &part, int64_t row,
                            float *channels) {
    int filled = 0;
    for (int block = 0; block < parts.blocks; ++block) {
        const int width = parts.widths[block];
        const float *values = part.values[block] + row * width;
        for (int k = 0; k < width; ++k) channels[filled++] = values[k];
    }
    for (; filled < frame.padded_channels; ++filled) channels[filled] = 0.0f;
}

// Records, placements and keys of a range of Gaussians; returns how many are listed. Keys go to items[begin...].
struct RangeTotals {
    int64_t listed = 0;
    uint64_t rows = 0;
    bool bad_expert = false;
    bool ascending = true;  // experts of the listed, from the first of them to the last
    int32_t first_expert = 0, last_expert = 0;
};
inline RangeTotals prepare_range(moegs_frame &frame, const SceneInput &in, int64_t begin, int64_t end,
                                 const CoverCounts &cover, uint32_t *cells, Array<KeyedId> &items) {
    RangeTotals totals;
    alignas(64) RecordLanes lanes;
    int64_t part_end = 0;
    for (int index = 0; index < in.parts.parts; ++index) {
        const moegs_part &part = in.parts.part[index];
        const int64_t part_begin = part_end;
        part_end += part.count;
        const int64_t own_end = std::min(end, part_end);
        for (int64_t first = std::max(begin, part_begin); first < own_end; first += kLanes) {
            const int count = int(std::min<int64_t>(kLanes, own_end - first));
            const int64_t row = first - part_begin;
            lanes.compute(in, part.opacities + row, first, count, float(frame.tiles_x), float(frame.tiles_y));
            for (int i = 0; i < count; ++i) {
                const int64_t g = first + i;
                Placement place{};
                if (lanes.listed[i]) {
                    place.expert = in.expert_ids ? in.expert_ids[g] : index;
                    if (uint32_t(place.expert) >= uint32_t(frame.num_experts)) {
                        totals.bad_expert = true;
                        return totals;
                    }
                    if (totals.listed == 0) totals.first_expert = totals.last_expert = place.expert;
                    totals.ascending &= place.expert >= totals.last_expert;
                    totals.last_expert = place.expert;
                    place.x0 = uint16_t(lanes.x0[i]);
                    place.y0 = uint16_t(lanes.y0[i]);
                    place.x1 = uint16_t(lanes.x1[i]);
                    place.y1 = uint16_t(lanes.y1[i]);
                    place.first_row = uint32_t(totals.rows);  // within the range; made global later
                    totals.rows += place.tiles();
                    float *record = frame.records.data() + g * frame.stride;
                    for (int k = 0; k < kRecordFloats; ++k) record[k] = lanes.fields[k][i];
                    gather_channels(frame, in.parts, part, row + i, record + kRecordFloats);
                    items[size_t(begin + totals.listed++)] = {sortable_bits(in.depths[g]), uint32_t(g)};
                    cover.add(cells, place);
                }
                frame.placements[size_t(g)] = place;
            }
        }
    }
    return totals;
}

// Listed Gaussians [first, last) of experts [first_expert, last_expert).
struct Run {
    size_t first, last;
    int32_t first_expert, last_expert;
};
// What is sorted apart. Mixtures lay one expert's Gaussians after the other's: each expert's alone stays in the nearer
// caches, in sorting and in filling its lists, and experts can be sorted at once. In any other order they are one run.
// Lists are the same either way, as each is of one expert.
inline std::vector<Run> runs_of(const moegs_frame &frame, const KeyedId *items, size_t listed, bool ascending) {
    if (!ascending || frame.num_experts == 1) return {{0, listed, 0, frame.num_experts}};
    std::vector<Run> runs;
    for (size_t first = 0; first < listed;) {
        const int32_t expert = frame.placements[items[first].id].expert;
        const KeyedId *last = std::partition_point(items + first, items + listed, [&](const KeyedId &item) {
            return frame.placements[item.id].expert == expert;
        });
        runs.push_back({first, size_t(last - items), expert, expert + 1});
        first = runs.back().last;
    }
    return runs;
}

// Fills every binning member of `frame`; returns a moegs status.
inline int32_t bin_gaussians(moegs_frame &frame, const SceneInput &in, int threads) {
    const size_t n = size_t(frame.count), jobs = size_t(frame.jobs());
    frame.records = Array<float>(n * size_t(frame.stride));
    frame.placements = Array<Placement>(n);
    frame.tile_begin = Array<uint32_t>(jobs + 1);
    Array<KeyedId> items{n}, spare{n};
    const CoverCounts cover(frame);
    const size_t num_cells = size_t(cover.image) * size_t(frame.num_experts);
    Array<uint32_t> cells{num_cells * size_t(threads)};
    std::vector<RangeTotals> totals(static_cast<size_t>(threads));
    on_ranges(frame.count, threads, [&](int worker, int64_t begin, int64_t end) {
        uint32_t *mine = cells.data() + size_t(worker) * num_cells;
        std::memset(mine, 0, num_cells * sizeof(uint32_t));
        totals[size_t(worker)] = prepare_range(frame, in, begin, end, cover, mine, items);
    });

    std::vector<uint64_t> row_base(static_cast<size_t>(threads) + 1, 0);
    size_t listed = 0;
    int32_t last_expert = 0;
    bool ascending = true;
    for (int worker = 0; worker < threads; ++worker) {
        const RangeTotals &part = totals[size_t(worker)];
        if (part.bad_expert) return MOEGS_BAD_EXPERT_ID;
        if (part.listed > 0) {
            ascending &= part.ascending && part.first_expert >= last_expert;
            last_expert = part.last_expert;
        }
        row_base[size_t(worker) + 1] = row_base[size_t(worker)] + part.rows;
        const int64_t begin = range_begin(frame.count, threads, worker);
        std::memmove(items.data() + listed, items.data() + begin, size_t(part.listed) * sizeof(KeyedId));
        listed += size_t(part.listed);
    }
    if (row_base.back() > 0x7fffffffu) return MOEGS_TOO_LARGE;
    frame.num_entries = int64_t(row_base.back());

    // Size of every tile's list.
    for (int worker = 1; worker < threads; ++worker)
        for (size_t cell = 0; cell < num_cells; ++cell) cells[cell] += cells[size_t(worker) * num_cells + cell];
    uint32_t start = 0;
    for (int expert = 0; expert < frame.num_experts; ++expert) {
        uint32_t *image = cells.data() + int64_t(expert) * cover.image;
        cover.integrate(image, frame.tiles_y);
        for (int y = 0; y < frame.tiles_y; ++y)
            for (int x = 0; x < frame.tiles_x; ++x) {
                frame.tile_begin[size_t(expert * frame.tiles() + int64_t(y) * frame.tiles_x + x)] = start;
                start += image[y * cover.width + x];
            }
    }
    frame.tile_begin[jobs] = start;

    const std::vector<Run> runs = runs_of(frame, items.data(), listed, ascending);
    on_tasks(int64_t(runs.size()), threads, [&](int64_t run) {
        const size_t first = runs[size_t(run)].first;
        radix_sort(items.data() + first, spare.data() + first, runs[size_t(run)].last - first);
    });

    // Each worker fills the lists of its own band of tile rows, all experts' rows stacked, bands of nearly equal work.
    frame.entries = Array<Entry>(size_t(frame.num_entries));
    Array<uint32_t> next{jobs};
    std::memcpy(next.data(), frame.tile_begin.data(), jobs * sizeof(uint32_t));
    const int64_t rows = int64_t(frame.num_experts) * frame.tiles_y;
    const auto row_of_share = [&](int worker) {
        const int64_t target = frame.num_entries * worker / threads;
        int64_t row = 0;
        while (row < rows && frame.tile_begin[size_t(row * frame.tiles_x)] < target) ++row;
        return worker == threads ? rows : row;
    };
    if (threads > 1)
        on_ranges(frame.count, threads, [&](int worker, int64_t begin, int64_t end) {
            for (int64_t g = begin; g < end; ++g) frame.placements[size_t(g)].first_row += uint32_t(row_base[size_t(worker)]);
        });
    on_tasks(threads, threads, [&](int64_t worker) {
        const int64_t band_begin = row_of_share(int(worker)), band_end = row_of_share(int(worker) + 1);
        for (const Run &run : runs) {
            const int64_t own_begin = std::max(band_begin, int64_t(run.first_expert) * frame.tiles_y);
            const int64_t own_end = std::min(band_end, int64_t(run.last_expert) * frame.tiles_y);
            for (size_t i = run.first; i < run.last && own_begin < own_end; ++i) {
                const uint32_t g = items[i].id;
                if (i + 16 < run.last) __builtin_prefetch(&frame.placements[items[i + 16].id]);
                const Placement place = frame.placements[g];
                const int64_t top = int64_t(place.expert) * frame.tiles_y + place.y0;
                const int64_t y0 = std::max(top, own_begin), y1 = std::min(top + (place.y1 - place.y0), own_end);
                const uint32_t columns = uint32_t(place.x1 - place.x0);
                uint32_t row = place.first_row + uint32_t(y0 - top) * columns;
                for (int64_t y = y0; y < y1; ++y) {
                    uint32_t *cursor = next.data() + y * frame.tiles_x + place.x0;
                    for (uint32_t x = 0; x < columns; ++x) frame.entries[cursor[x]++] = {g, row++};
                }
            }
        }
    });
    return MOEGS_OK;
}

}  // namespace moegs
