// How the caller's scratch memory is divided, and which arguments are refused: the same in both libraries.
#pragma once

#include <stddef.h>

#include "mixture_shared.h"

namespace moegs_mixture {

constexpr int64_t kMaxCount = 0x7fffffff;

inline int32_t check_scene(const moegs_mixture_scene &scene) {
    if (scene.count < 0 || scene.num_experts < 1 || scene.num_experts > MOEGS_MIXTURE_MAX_EXPERTS || scene.width < 1 ||
        scene.height < 1)
        return MOEGS_MIXTURE_BAD_ARGUMENT;
    if (scene.count > kMaxCount || scene.width > kMaxSide || scene.height > kMaxSide ||
        number_of_lists(scene) >= kMaxCount)
        return MOEGS_MIXTURE_TOO_LARGE;
    return MOEGS_MIXTURE_OK;
}

inline int32_t check_pairs(int64_t pairs) {
    if (pairs < 0) return MOEGS_MIXTURE_BAD_ARGUMENT;
    return pairs > kMaxCount ? MOEGS_MIXTURE_TOO_LARGE : MOEGS_MIXTURE_OK;
}

inline int32_t check_gate(const moegs_mixture_scene &scene, const moegs_mixture_gate &gate) {
    const bool layers = gate.layers >= 1 && gate.layers <= MOEGS_MIXTURE_MAX_LAYERS;
    const bool rays = gate.ray_first >= 0 && gate.ray_count >= 0 && gate.ray_first + gate.ray_count <= 6;
    if (!layers || !rays || gate.units[0] != 2 + gate.ray_count || gate.units[gate.layers] != 1 ||
        !(gate.temperature > 0.0f) || gate.top_k < 0 || gate.top_k > scene.num_experts || !gate.backgrounds)
        return MOEGS_MIXTURE_BAD_ARGUMENT;
    for (int layer = 0; layer < gate.layers; ++layer)
        if (gate.units[layer] < 1 || gate.units[layer] > MOEGS_MIXTURE_MAX_UNITS || !gate.matrices[layer])
            return MOEGS_MIXTURE_BAD_ARGUMENT;
    return MOEGS_MIXTURE_OK;
}

// The first of them that is no success.
inline int32_t first_failure(int32_t a, int32_t b, int32_t c = MOEGS_MIXTURE_OK) {
    return a != MOEGS_MIXTURE_OK ? a : b != MOEGS_MIXTURE_OK ? b : c;
}

// Hands out pieces of one allocation; with null it only measures.
class Pieces {
public:
    explicit Pieces(void *memory) : memory_(static_cast<unsigned char *>(memory)) {}
    template <typename T>
    T *take(int64_t count) {
        unsigned char *const piece = memory_ ? memory_ + used_ : nullptr;
        used_ += (count * int64_t(sizeof(T)) + kAlignment - 1) / kAlignment * kAlignment;
        return reinterpret_cast<T *>(piece);
    }
    int64_t used() const { return used_; }

private:
    static constexpr int64_t kAlignment = 256;
    unsigned char *memory_;
    int64_t used_ = 0;
};

// The Gaussians on the screen, and their order.
struct Binned {
    Splat *splats;              // [N] in the caller's order
    TileRectangle *tiles;       // [N] likewise
    uint32_t *depth_keys[2];    // [N] unsorted, sorted
    uint32_t *ids[2];           // [N] likewise: positions in the caller's order
    int64_t *pairs_until;       // [N] number of pairs of this and all nearer Gaussians
    unsigned char *tool_space;  // for the library's sorting and summing
    int64_t bytes;

    Binned(const moegs_mixture_scene &scene, void *memory, int64_t tool_bytes) {
        Pieces pieces(memory);
        const int64_t n = scene.count;
        splats = pieces.take<Splat>(n);
        tiles = pieces.take<TileRectangle>(n);
        for (uint32_t *&keys : depth_keys) keys = pieces.take<uint32_t>(n);
        for (uint32_t *&order : ids) order = pieces.take<uint32_t>(n);
        pairs_until = pieces.take<int64_t>(n);
        tool_space = pieces.take<unsigned char>(tool_bytes);
        bytes = pieces.used();
    }
};

// The pairs of Gaussians and tiles, sorted into lists front to back.
struct Listed {
    uint32_t *lists[2];    // [pairs] number of the list, unsorted and sorted
    uint32_t *ids[2];      // [pairs] Gaussians, likewise
    uint32_t *list_begin;  // [lists + 1] where each list begins among the sorted
    unsigned char *tool_space;
    int64_t bytes;

    Listed(const moegs_mixture_scene &scene, int64_t pairs, void *memory, int64_t tool_bytes) {
        Pieces pieces(memory);
        for (uint32_t *&keys : lists) keys = pieces.take<uint32_t>(pairs);
        for (uint32_t *&order : ids) order = pieces.take<uint32_t>(pairs);
        list_begin = pieces.take<uint32_t>(number_of_lists(scene) + 1);
        tool_space = pieces.take<unsigned char>(tool_bytes);
        bytes = pieces.used();
    }
};

}  // namespace moegs_mixture
