// Gradient of compositing, in two passes.
//
// Pass 1 walks each tile back to front and writes one row of sums per entry. With B = what an entry sees behind it,
// projected on the pixel's upstream gradient g, a single scalar per pixel carries the whole suffix:
//     dL/dalpha = T (c.g - B),   B <- B + alpha (c.g - B),   starting from B = -dL/dA (A: composited alpha).
// Pass 2 adds the rows of each Gaussian in tile order, so the result does not depend on the number of threads.
#pragma once

#include "cpu_composite.h"

namespace moegs {

// Sums over pixels of s = dL/dform-weighted moments of (e, dx, dy); see `finish_gaussian` for what they become.
enum GeometrySum { kSumOne, kSumE, kSumY, kSumXX, kSumXY, kSumYY, kGeometrySums };

struct RowLayout {
    int geometry, absolute, sums, floats;  // counts; `floats` is the row's size
    RowLayout(const moegs_frame &frame, bool with_geometry, bool with_absolute) {
        geometry = with_geometry ? int(kGeometrySums) : 0;
        absolute = with_absolute ? 2 : 0;
        sums = geometry + absolute + frame.padded_channels;
        floats = (sums + kLanes - 1) / kLanes * kLanes;
    }
    static int slot(int sum) { return sum / kLanes * kLanes + lane_of_sum(sum % kLanes); }
};

struct Upstream {
    const float *images, *alphas;  // [K,H,W,C] and [K,H,W], either may be null
};

// The rows of all entries' sums from `first` on. What is not written counts as zero.
struct Rows {
    uint32_t first;
    int floats;        // of a row
    float *sums;       // [rows, floats]
    uint8_t *written;  // [rows]
    float *at(uint32_t row) const { return sums + size_t(row - first) * size_t(floats); }
};

template <int StaticChannels, bool Geometry, bool Absolute>
void composite_tile_backward(const moegs_frame &frame, int64_t job, const Upstream &upstream, const Rows &rows) {
    const int row_floats = rows.floats;
    const int channels = StaticChannels ? StaticChannels : frame.padded_channels;
    const int stride = StaticChannels ? 16 : frame.stride;
    const TilePlace tile(frame, job);
    const float *final_transmittance = frame.final_transmittance.data() + size_t(job) * kTilePixels;
    const int32_t *last = frame.last_entry.data() + size_t(job) * kTilePixels;

    alignas(64) int32_t block_last[kBlocks], tile_last = -1;
    for (int b = 0; b < kBlocks; ++b) {
        block_last[b] = -1;
        for (int i = 0; i < kLanes; ++i) block_last[b] = std::max(block_last[b], last[b * kLanes + i]);
        tile_last = std::max(tile_last, block_last[b]);
    }
    if (tile_last < 0) return;

    const PixelCentres centres(tile);
    alignas(64) float transmittance[kTilePixels], behind[kTilePixels];
    std::memcpy(transmittance, final_transmittance, sizeof(transmittance));
    alignas(64) Floats static_upstream[StaticChannels ? kBlocks * StaticChannels : 1];
    Array<Floats> dynamic_upstream, dynamic_sums;
    Floats *pixel_gradient = static_upstream;
    if (!StaticChannels) {
        dynamic_upstream = Array<Floats>(size_t(kBlocks * channels));
        dynamic_sums = Array<Floats>(size_t(row_floats));
        pixel_gradient = dynamic_upstream.data();
        for (int i = 0; i < row_floats; ++i) dynamic_sums[size_t(i)] = Floats{};
    }
    std::memset(behind, 0, sizeof(behind));
    std::memset(pixel_gradient, 0, sizeof(Floats) * size_t(kBlocks * channels));
    float *scalars = reinterpret_cast<float *>(pixel_gradient);
    on_block_rows(frame, tile, [&](int at, size_t pixel, int count) {
        for (int i = 0; upstream.alphas && i < count; ++i) behind[at + i] = -upstream.alphas[pixel + size_t(i)];
        if (!upstream.images) return;
        float *column = scalars + (at / kLanes) * channels * kLanes + at % kLanes;
        const float *row = upstream.images + pixel * size_t(frame.channels);
        on_row_channels<StaticChannels>(count, frame.channels, [&](int to, int from) { column[to] = row[from]; });
    });

    const Ints last_of_block = load<Ints>(block_last), lane_bits = load<Ints>(kLaneBit);
    constexpr int kFirstChannel = (Geometry ? int(kGeometrySums) : 0) + (Absolute ? 2 : 0);
    for (int32_t position = tile_last; position >= 0; --position) {
        const uint32_t entry = tile.begin + uint32_t(position);
        const uint32_t blocks = frame.entry_blocks[entry] & movemask(splat(position) <= last_of_block, lane_bits);
        if (!blocks) continue;
        const float *record = frame.records.data() + size_t(frame.entries[entry].gaussian) * size_t(stride);
        const float *values = record + kRecordFloats;

        Floats sum[kFirstChannel + StaticChannels + 1];
        for (int k = 0; k < kFirstChannel + StaticChannels; ++k) sum[k] = Floats{};
        alignas(64) Floats weights[StaticChannels ? 1 : kBlocks];
        for (uint32_t rest = blocks; rest; rest &= rest - 1) {
            const int b = __builtin_ctz(rest);
            const Falloff falloff(record, centres.x[b % 4], centres.y[b / 4]);
            const Floats unclipped = record[kOpacity] * falloff.value;
            const Ints blended = (unclipped >= splat(kMinAlpha)) & (splat(position) <= load<Ints>(last + b * kLanes));
            const Floats alpha = keep_if(blended, cap_nonnegative(unclipped, kMaxAlpha));
            const Floats t = load<Floats>(transmittance + b * kLanes) / (1.0f - alpha);
            store(transmittance + b * kLanes, t);
            const Floats weight = alpha * t;
            const Floats *gradient = pixel_gradient + b * channels;
            if (Geometry) {
                Floats along = values[0] * gradient[0];
                for (int k = 1; k < channels; ++k) along = along + values[k] * gradient[k];
                const Floats seen_behind = load<Floats>(behind + b * kLanes);
                const Floats difference = along - seen_behind;
                store(behind + b * kLanes, seen_behind + alpha * difference);
                // dL/dsigma, zero where alpha was clipped (alpha cannot move there).
                const Floats s = keep_if(unclipped <= splat(kMaxAlpha), (0.0f - weight) * difference);
                const Floats sx = s * falloff.dx, sy = s * falloff.dy, se = s * falloff.e;
                sum[kSumOne] = sum[kSumOne] + s;
                sum[kSumE] = sum[kSumE] + se;
                sum[kSumY] = sum[kSumY] + sy;
                sum[kSumXX] = sum[kSumXX] + sx * falloff.dx;
                sum[kSumXY] = sum[kSumXY] + sx * falloff.dy;
                sum[kSumYY] = sum[kSumYY] + sy * falloff.dy;
                if (Absolute) {
                    // |dL/dmean| per pixel: a e and -slope_x a e + d dy, up to the common scale.
                    const Floats ae = record[kA] * se;
                    sum[kGeometrySums] = sum[kGeometrySums] + absolute(ae);
                    sum[kGeometrySums + 1] = sum[kGeometrySums + 1] + absolute(record[kD] * sy - record[kSlopeX] * ae);
                }
            }
            if (StaticChannels) {
                for (int k = 0; k < StaticChannels; ++k)
                    sum[kFirstChannel + k] = sum[kFirstChannel + k] + weight * gradient[k];
            } else {
                weights[b] = weight;
            }
        }

        const uint32_t row = frame.entries[entry].row;
        float *out = rows.at(row);
        rows.written[row - rows.first] = 1;
        if constexpr (StaticChannels > 0) {
            sum_lanes<kFirstChannel + StaticChannels>(sum, out);
        } else {
            Floats *all = dynamic_sums.data();
            for (int k = 0; k < kFirstChannel; ++k) all[k] = sum[k];
            for (int first = 0; first < channels; first += kChannelGroup) {
                Floats group[kChannelGroup] = {};
                for (uint32_t rest = blocks; rest; rest &= rest - 1) {
                    const int b = __builtin_ctz(rest);
                    for (int k = 0; k < kChannelGroup; ++k)
                        group[k] = group[k] + weights[b] * pixel_gradient[b * channels + first + k];
                }
                for (int k = 0; k < kChannelGroup; ++k) all[kFirstChannel + first + k] = group[k];
            }
            for (int first = 0; first < row_floats; first += kLanes) sum_lanes<kLanes>(all + first, out + first);
        }
    }
}

struct Gradients {
    float *means2d, *conics, *opacities, *values, *abs_means2d;  // any may be null, the first three together
};

// Adds a Gaussian's rows and turns the moments into gradients; `total` is scratch of one row.
inline void finish_gaussian(const moegs_frame &frame, const RowLayout &layout, int64_t g, const Rows &rows,
                            Floats *total, const Gradients &out) {
    const int vectors = layout.floats / kLanes;
    const Placement place = frame.placements[size_t(g)];
    const uint32_t end = place.first_row + place.tiles();
    for (int v = 0; v < vectors; ++v) total[v] = Floats{};
    bool any_row = false;
    for (uint32_t row = place.first_row; row < end; ++row) {
        if (!rows.written[row - rows.first]) continue;
        any_row = true;
        for (int v = 0; v < vectors; ++v)
            total[v] = total[v] + load<Floats>(rows.at(row) + size_t(v * kLanes));
    }
    const float *sums = reinterpret_cast<const float *>(total);
    if (layout.geometry) {
        // conic.x, det / conic.x and so on; the record of a Gaussian that reached no pixel may be unset.
        static const float kNone[kRecordFloats] = {0, 0, 0, 0, 0, 1, 0, 0};
        const float *record = any_row ? frame.records.data() + g * frame.stride : kNone;
        const float a = record[kA] / kHalfLog2E, d = record[kD] / kHalfLog2E;
        const float v_x = a * sums[layout.slot(kSumE)];
        out.means2d[2 * g] = v_x;
        out.means2d[2 * g + 1] = d * sums[layout.slot(kSumY)] - record[kSlopeX] * v_x;
        out.conics[3 * g] = 0.5f * sums[layout.slot(kSumXX)];
        out.conics[3 * g + 1] = sums[layout.slot(kSumXY)];
        out.conics[3 * g + 2] = 0.5f * sums[layout.slot(kSumYY)];
        out.opacities[g] = -sums[layout.slot(kSumOne)] / record[kOpacity];
        if (layout.absolute) {
            out.abs_means2d[2 * g] = sums[layout.slot(kGeometrySums)] / kHalfLog2E;
            out.abs_means2d[2 * g + 1] = sums[layout.slot(kGeometrySums + 1)] / kHalfLog2E;
        }
    }
    if (out.values)
        for (int k = 0; k < frame.channels; ++k)
            out.values[g * frame.channels + k] = sums[layout.slot(layout.geometry + layout.absolute + k)];
}

using BackwardTile = void (*)(const moegs_frame &, int64_t, const Upstream &, const Rows &);

// Both passes. Experts one after the other where they can be told apart: the rows of one stay in the nearer caches until
// they are added up, and the next expert's take their place.
inline void composite_backward(const moegs_frame &f, int threads, const Upstream &upstream, const Gradients &out,
                               BackwardTile tile) {
    const bool geometry = out.means2d != nullptr;
    const RowLayout layout(f, geometry, geometry && out.abs_means2d != nullptr);
    const int vectors = layout.floats / kLanes;
    const bool apart = !f.begin_of_expert.empty();
    const int64_t groups = apart ? f.num_experts : 1, jobs = f.jobs() / groups;
    const auto first_row = [&](int64_t group) { return f.tile_begin[size_t(group * jobs)]; };
    uint32_t most_rows = 0;
    for (int64_t group = 0; group < groups; ++group)
        most_rows = std::max(most_rows, first_row(group + 1) - first_row(group));
    Array<Floats> totals{size_t(threads * vectors)};
    Array<float> sums{size_t(most_rows) * size_t(layout.floats)};
    Array<uint8_t> written{size_t(most_rows)};
    for (int64_t group = 0; group < groups; ++group) {
        const Rows rows{first_row(group), layout.floats, sums.data(), written.data()};
        std::memset(rows.written, 0, first_row(group + 1) - first_row(group));
        on_tasks(jobs, threads, [&](int64_t job) { tile(f, group * jobs + job, upstream, rows); });
        const int64_t begin = apart ? f.begin_of_expert[size_t(group)] : 0;
        const int64_t end = apart ? f.begin_of_expert[size_t(group) + 1] : f.count;
        on_ranges(end - begin, threads, [&](int worker, int64_t from, int64_t to) {
            for (int64_t g = begin + from; g < begin + to; ++g)
                finish_gaussian(f, layout, g, rows, totals.data() + size_t(worker * vectors), out);
        });
    }
}

}  // namespace moegs
