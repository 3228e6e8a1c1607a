// Front-to-back compositing of one tile.
//
// Entries are taken 64 at a time. First each entry is tested against the 16 blocks, which gives every block a 64-bit
// word of the entries that touch it; then each block runs through its own word with its state in registers.
#pragma once

#include "cpu_composite.h"

namespace moegs {

// State of a pixel is its transmittance T; a pixel that has ended holds -T (also pixels outside the image).
template <int StaticChannels>  // 0: any number, from the frame
void composite_tile_forward(const moegs_frame &frame, int64_t job, float *images, float *alphas) {
    constexpr int kChunk = 64;
    const int channels = StaticChannels ? StaticChannels : frame.padded_channels;
    const int stride = StaticChannels ? 16 : frame.stride;
    const TilePlace tile(frame, job);
    const PixelCentres centres(tile);
    const BlockTest block_test(tile);
    const Ints lane_bits = load<Ints>(kLaneBit);

    alignas(64) float transmittance[kTilePixels];
    alignas(64) int32_t last[kTilePixels];
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
    for (int i = 0; i < kBlocks * channels; ++i) sums[i] = Floats{};
    for (int i = 0; i < kTilePixels; ++i) {
        transmittance[i] = -1.0f;
        last[i] = -1;
    }
    for (int y = 0; y < tile.height; ++y)
        for (int x = 0; x < tile.width; ++x) transmittance[block_position(x, y)] = 1.0f;
    uint32_t alive = 0;
    for (int b = 0; b < kBlocks; ++b) alive |= uint32_t(transmittance[b * kLanes] > 0) << b;

    for (uint32_t base = tile.begin; base < tile.end && alive; base += kChunk) {
        const int size = int(std::min<uint32_t>(kChunk, tile.end - base));
        Ints words[2] = {Ints{}, Ints{}};
        for (int i = 0; i < size; ++i) {
            const float *packed = frame.records.data() + size_t(frame.entry_rank[base + uint32_t(i)]) * size_t(stride);
            std::memcpy(chunk + i * stride, packed, sizeof(float) * size_t(stride));
            Record record;
            std::memcpy(&record, chunk + i * stride, sizeof(Record));
            const Ints touched = block_test.touched(record);
            words[i / 32] = words[i / 32] | (touched & splat(int32_t(1u << (i % 32))));
            frame.entry_blocks[base + uint32_t(i)] = uint16_t(movemask(touched, lane_bits));
        }
        alignas(64) uint32_t word[2][kLanes];
        store(word[0], words[0]);
        store(word[1], words[1]);
        const int32_t position = int32_t(base - tile.begin);

        for (uint32_t blocks = alive; blocks; blocks &= blocks - 1) {
            const int b = __builtin_ctz(blocks);
            uint64_t todo = word[0][b] | uint64_t(word[1][b]) << 32;
            if (!todo) continue;
            const Floats x = centres.x[b % 4], y = centres.y[b / 4];
            Floats t = load<Floats>(transmittance + b * kLanes);
            Ints ended_at = load<Ints>(last + b * kLanes);
            Floats sum[StaticChannels ? StaticChannels : 1];
            for (int k = 0; k < StaticChannels; ++k) sum[k] = sums[b * channels + k];
            alignas(64) Floats weights[StaticChannels ? 1 : kChunk];
            uint8_t weight_of[StaticChannels ? 1 : kChunk];
            int num_weights = 0;
            for (; todo; todo &= todo - 1) {
                const int i = __builtin_ctzll(todo);
                Record record;
                std::memcpy(&record, chunk + i * stride, sizeof(Record));
                const Falloff falloff(record, x, y);
                const Floats clipped = minimum(record.opacity * falloff.value, splat(kMaxAlpha));
                const Floats alpha = keep_if(clipped >= splat(kMinAlpha), clipped);
                const Floats next = t * (1.0f - alpha);
                const Ints going = next > splat(kMinTransmittance);
                const Floats weight = keep_if(going, alpha * t);
                t = select(going, next, negative_absolute(t));
                ended_at = select(going, splat(position + i), ended_at);
                if (StaticChannels) {
                    for (int k = 0; k < StaticChannels; ++k)
                        sum[k] = sum[k] + chunk[i * stride + kRecordFloats + k] * weight;
                } else {
                    weights[num_weights] = weight;
                    weight_of[num_weights++] = uint8_t(i);
                }
            }
            store(transmittance + b * kLanes, t);
            store(last + b * kLanes, ended_at);
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
            if (!any(t > Floats{})) alive &= ~(1u << b);
        }
    }

    for (int i = 0; i < kTilePixels; ++i) transmittance[i] = std::abs(transmittance[i]);
    if (frame.final_transmittance.data()) {
        std::memcpy(frame.final_transmittance.data() + size_t(job) * kTilePixels, transmittance, sizeof(transmittance));
        std::memcpy(frame.last_entry.data() + size_t(job) * kTilePixels, last, sizeof(last));
    }
    const float *scalars = reinterpret_cast<const float *>(sums);
    for (int y = 0; y < tile.height; ++y)
        for (int x = 0; x < tile.width; ++x) {
            const int at = block_position(x, y);
            const size_t pixel = tile.pixel(frame, x, y);
            alphas[pixel] = 1.0f - transmittance[at];
            const float *column = scalars + (at / kLanes) * channels * kLanes + at % kLanes;
            for (int k = 0; k < frame.channels; ++k) images[pixel * size_t(frame.channels) + size_t(k)] = column[k * kLanes];
        }
}

}  // namespace moegs
