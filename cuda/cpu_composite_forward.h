// Front-to-back compositing of one tile.
//
// Entries are taken 64 at a time. First each entry is tested against the 16 blocks, which gives every block a 64-bit
// word of the entries that touch it; then each block runs through its own word with its state in registers.
#pragma once

#include "cpu_composite.h"

namespace moegs {

constexpr int kChunk = 64;

// Copies the records of entries [base, base + size) into `chunk` and finds the blocks each touches:
// bit i of words[i / 32][b] says that entry base + i touches block b.
// Also asks the memory for the records of the chunk after it, up to entry `end`: they may lie in another core's cache.
__attribute__((noinline)) inline void load_chunk(const moegs_frame &frame, const BlockTest &test, uint32_t base,
                                                 uint32_t end, int stride, float *chunk, uint32_t (*words)[kLanes]) {
    const int size = int(std::min<uint32_t>(kChunk, end - base));
    const Ints lane_bits = load<Ints>(kLaneBit);
    Ints touching[2] = {Ints{}, Ints{}};
    for (int half = 0; half < 2; ++half)
        for (int bit = 0; bit < 32 && half * 32 + bit < size; ++bit) {
            const uint32_t entry = base + uint32_t(half * 32 + bit);
            const float *packed = frame.records.data() + size_t(frame.entries[entry].gaussian) * size_t(stride);
            std::memcpy(chunk + (half * 32 + bit) * stride, packed, sizeof(float) * size_t(stride));
            const Ints touched = test.touched(packed);
            touching[half] = touching[half] | (touched & splat(int32_t(1u << bit)));
            frame.entry_blocks[entry] = uint16_t(movemask(touched, lane_bits));
        }
    const uint32_t ahead = std::min<uint32_t>(base + 2 * kChunk, end);
    for (uint32_t entry = base + kChunk; entry < ahead; ++entry)
        __builtin_prefetch(frame.records.data() + size_t(frame.entries[entry].gaussian) * size_t(stride));
    store(words[0], touching[0]);
    store(words[1], touching[1]);
}

// Per-pixel state of a tile in block order. A pixel ends when the next Gaussian would take its transmittance to 1e-4
// or below; `running` is then 0, `final` keeps the last value above, `last` the entry that led to it.
struct ForwardState {
    alignas(64) float running[kTilePixels], final[kTilePixels];
    alignas(64) int32_t last[kTilePixels];

    explicit ForwardState(const TilePlace &tile) {
        for (int i = 0; i < kTilePixels; ++i) {
            running[i] = 0.0f;
            final[i] = 1.0f;
            last[i] = -1;
        }
        for (int y = 0; y < tile.height; ++y)
            for (int x = 0; x < tile.width; ++x) running[block_position(x, y)] = 1.0f;
    }
};

template <int StaticChannels>
MOEGS_INLINE void write_tile(const moegs_frame &frame, const TilePlace &tile, const ForwardState &state, const float *sums,
                             int channels, float *images, float *alphas) {
    if (frame.final_transmittance.data()) {
        std::memcpy(frame.final_transmittance.data() + size_t(tile.job) * kTilePixels, state.final, sizeof(state.final));
        std::memcpy(frame.last_entry.data() + size_t(tile.job) * kTilePixels, state.last, sizeof(state.last));
    }
    on_block_rows(frame, tile, [&](int at, size_t pixel, int count) {
        for (int i = 0; i < count; ++i) alphas[pixel + size_t(i)] = 1.0f - state.final[at + i];
        const float *column = sums + (at / kLanes) * channels * kLanes + at % kLanes;
        float *row = images + pixel * size_t(frame.channels);
        on_row_channels<StaticChannels>(count, frame.channels, [&](int from, int to) { row[to] = column[from]; });
    });
}

template <int StaticChannels>  // 0: any number, from the frame
void composite_tile_forward(const moegs_frame &frame, int64_t job, float *images, float *alphas) {
    const int channels = StaticChannels ? StaticChannels : frame.padded_channels;
    const int stride = StaticChannels ? 16 : frame.stride;
    const TilePlace tile(frame, job);
    const PixelCentres centres(tile);
    const BlockTest block_test(tile);
    ForwardState state(tile);

    alignas(64) Floats static_sums[StaticChannels ? kBlocks * StaticChannels : 1];
    alignas(64) float static_chunk[StaticChannels ? kChunk * 16 : 1];
    Array<Floats> dynamic_sums;
    Array<float> dynamic_chunk;
    Floats *sums = static_sums;
    float *chunk = static_chunk;
    if (!StaticChannels) {
        dynamic_sums = Array<Floats>(size_t(kBlocks * channels));
        dynamic_chunk = Array<float>(size_t(kChunk * stride));
        sums = dynamic_sums.data();
        chunk = dynamic_chunk.data();
    }
    std::memset(static_cast<void *>(sums), 0, sizeof(Floats) * size_t(kBlocks * channels));
    uint32_t alive = 0;
    for (int b = 0; b < kBlocks; ++b) alive |= uint32_t(state.running[b * kLanes] > 0) << b;

    for (uint32_t base = tile.begin; base < tile.end && alive; base += kChunk) {
        alignas(64) uint32_t words[2][kLanes];
        load_chunk(frame, block_test, base, tile.end, stride, chunk, words);
        const int32_t position = int32_t(base - tile.begin);

        for (uint32_t blocks = alive; blocks; blocks &= blocks - 1) {
            const int b = __builtin_ctz(blocks);
            uint64_t todo = words[0][b] | uint64_t(words[1][b]) << 32;
            if (!todo) continue;
            const Floats x = centres.x[b % 4], y = centres.y[b / 4];
            Floats running = load<Floats>(state.running + b * kLanes), final = load<Floats>(state.final + b * kLanes);
            Ints last = load<Ints>(state.last + b * kLanes);
            Floats sum[StaticChannels ? StaticChannels : 1];
            for (int k = 0; k < StaticChannels; ++k) sum[k] = sums[b * channels + k];
            alignas(64) Floats weights[StaticChannels ? 1 : kChunk];
            uint8_t weight_of[StaticChannels ? 1 : kChunk];
            int num_weights = 0;
            while (todo) {
                // The running product is not stopped at once when a pixel ends, which keeps the comparison out of the
                // chain of dependent operations; it only shrinks, so later weights stay masked. Eight steps of at
                // least 0.001 cannot reach the denormal range.
                for (int step = 0; step < 8 && todo; ++step, todo &= todo - 1) {
                    const int i = __builtin_ctzll(todo);
                    const float *record = chunk + i * stride;
                    const Falloff falloff(record, x, y);
                    const Floats clipped = cap_nonnegative(record[kOpacity] * falloff.value, kMaxAlpha);
                    const Floats alpha = keep_if(clipped >= splat(kMinAlpha), clipped);
                    const Floats next = running * (1.0f - alpha);
                    const Ints going = next > splat(kMinTransmittance);
                    const Floats weight = keep_if(going, alpha * running);
                    running = next;
                    final = select(going, next, final);
                    last = select(going, splat(position + i), last);
                    if (StaticChannels) {
                        for (int k = 0; k < StaticChannels; ++k) sum[k] = sum[k] + record[kRecordFloats + k] * weight;
                    } else {
                        weights[num_weights] = weight;
                        weight_of[num_weights++] = uint8_t(i);
                    }
                }
                running = keep_if(running > splat(kMinTransmittance), running);
            }
            store(state.running + b * kLanes, running);
            store(state.final + b * kLanes, final);
            store(state.last + b * kLanes, last);
            for (int k = 0; k < StaticChannels; ++k) sums[b * channels + k] = sum[k];
            for (int first = 0; !StaticChannels && first < channels; first += kChannelGroup) {
                Floats group[kChannelGroup];
                for (int k = 0; k < kChannelGroup; ++k) group[k] = sums[b * channels + first + k];
                for (int j = 0; j < num_weights; ++j) {
                    const float *values = chunk + weight_of[j] * stride + kRecordFloats + first;
                    for (int k = 0; k < kChannelGroup; ++k) group[k] = group[k] + values[k] * weights[j];
                }
                for (int k = 0; k < kChannelGroup; ++k) sums[b * channels + first + k] = group[k];
            }
            if (!any(running > Floats{})) alive &= ~(1u << b);
        }
    }
    write_tile<StaticChannels>(frame, tile, state, reinterpret_cast<const float *>(sums), channels, images, alphas);
}

}  // namespace moegs
