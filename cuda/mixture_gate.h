// From what K experts composited in one pixel to its colour: network, softmax and blend. For GPU and host.
#pragma once

#include "mixture_pixel.h"

namespace moegs_mixture {

// Camera centre (world units) and unit direction (world axes) of the ray through a pixel's centre, as moegs_ns.splats.rays
// has them.
struct Ray {
    float values[6];
};

MOEGS_SHARED Ray pixel_ray(const float *viewmat, const float *intrinsics, float pixel_x, float pixel_y) {
    const float x = (pixel_x - intrinsics[2]) / intrinsics[0], y = (pixel_y - intrinsics[5]) / intrinsics[4];
    const float length = sqrtf(1.0f + x * x + y * y);
    Ray ray;
    for (int axis = 0; axis < 3; ++axis) {
        // Rows of the world-to-camera rotation are the camera's axes in world coordinates.
        const float right = viewmat[axis], down = viewmat[4 + axis], forward = viewmat[8 + axis];
        ray.values[axis] = -(right * viewmat[3] + down * viewmat[7] + forward * viewmat[11]);
        ray.values[3 + axis] = (right * x + (down * y + forward)) / length;
    }
    return ray;
}

// Φ of Eq. 7: `inputs` has units[0] values. Overwrites nothing of the caller's.
MOEGS_SHARED float refine(const moegs_mixture_gate &gate, const float *inputs) {
    float layer_inputs[MOEGS_MIXTURE_MAX_UNITS], outputs[MOEGS_MIXTURE_MAX_UNITS];
    for (int i = 0; i < gate.units[0]; ++i) layer_inputs[i] = inputs[i];
    for (int layer = 0; layer < gate.layers; ++layer) {
        const int from = gate.units[layer], to = gate.units[layer + 1];
        const bool last = layer + 1 == gate.layers;
        const float *matrix = gate.matrices[layer];
        for (int row = 0; row < to; ++row) {
            float sum = 0.0f;
            for (int column = 0; column < from; ++column) sum += matrix[row * from + column] * layer_inputs[column];
            outputs[row] = last ? sum : larger(sum, 0.0f);
        }
        for (int row = 0; row < to; ++row) layer_inputs[row] = outputs[row];
    }
    return outputs[0];
}

// What an expert brings into the blend.
struct ExpertPixel {
    float picture[3];  // in [0,1], background included
    float alpha, depth, logit;
};

MOEGS_SHARED ExpertPixel finish_expert(const Compositing &pixel, const moegs_mixture_gate &gate, int expert,
                                       const Ray &ray) {
    ExpertPixel result;
    result.alpha = pixel.alpha();
    result.depth = pixel.depth / larger(result.alpha, kMinCover);
    const float behind = 1.0f - result.alpha;
    float weights[3];
    for (int channel = 0; channel < 3; ++channel) {
        result.picture[channel] =
            clamped(pixel.color[channel] + behind * gate.backgrounds[3 * expert + channel], 0.0f, 1.0f);
        weights[channel] = pixel.weights[channel] + behind * gate.weight_background;
    }
    float inputs[2 + 6] = {weights[1], weights[2]};
    for (int i = 0; i < gate.ray_count; ++i) inputs[2 + i] = ray.values[gate.ray_first + i];
    result.logit = weights[0] + refine(gate, inputs);
    return result;
}

// What a pixel of the mixture shows.
struct MixedPixel {
    float rgb[3] = {0.0f, 0.0f, 0.0f};
    float accumulation = 0.0f, depth = 0.0f;
};

// Whether top_k keeps an expert: of equal logits the first.
MOEGS_SHARED bool kept(const ExpertPixel *experts, int count, int top_k, int expert) {
    if (top_k <= 0 || top_k >= count) return true;
    int better = 0;
    for (int other = 0; other < count; ++other) {
        const bool equal_but_first = experts[other].logit == experts[expert].logit && other < expert;
        better += experts[other].logit > experts[expert].logit || equal_but_first;
    }
    return better < top_k;
}

// Softmax of the logits, as gate() of moegs_ns.router.gate, and the blend of Eq. 8. Writes the gates [count].
MOEGS_SHARED MixedPixel mix_experts(const ExpertPixel *experts, int count, const moegs_mixture_gate &gate,
                                    float *gates) {
    float largest = experts[0].logit;
    for (int expert = 1; expert < count; ++expert) largest = larger(largest, experts[expert].logit);
    float total = 0.0f;
    for (int expert = 0; expert < count; ++expert) {
        const bool counts = kept(experts, count, gate.top_k, expert);
        gates[expert] = counts ? expf((experts[expert].logit - largest) / gate.temperature) : 0.0f;
        total += gates[expert];
    }
    MixedPixel mixed;
    for (int expert = 0; expert < count; ++expert) {
        gates[expert] /= total;
        const float cover = gates[expert] * experts[expert].alpha;
        for (int channel = 0; channel < 3; ++channel)
            mixed.rgb[channel] += gates[expert] * experts[expert].picture[channel];
        mixed.accumulation += cover;
        mixed.depth += cover * experts[expert].depth;
    }
    mixed.depth /= larger(mixed.accumulation, kMinCover);
    return mixed;
}

// The pixel `index` (row-major) of all pictures that are asked for, from all experts' compositing.
MOEGS_SHARED void write_pixel(const moegs_mixture_scene &scene, const moegs_mixture_gate &gate,
                              const moegs_mixture_pictures &pictures, const ExpertPixel *experts, int64_t index) {
    float gates[MOEGS_MIXTURE_MAX_EXPERTS];
    const MixedPixel mixed = mix_experts(experts, scene.num_experts, gate, gates);
    const int64_t pixels = int64_t(scene.width) * scene.height;
    if (pictures.accumulation) pictures.accumulation[index] = mixed.accumulation;
    if (pictures.depth) pictures.depth[index] = mixed.depth;
    for (int channel = 0; pictures.rgb && channel < 3; ++channel)
        pictures.rgb[3 * index + channel] = mixed.rgb[channel];
    for (int expert = 0; expert < scene.num_experts; ++expert) {
        const int64_t place = expert * pixels + index;
        if (pictures.gates) pictures.gates[place] = gates[expert];
        for (int channel = 0; pictures.pictures && channel < 3; ++channel)
            pictures.pictures[3 * place + channel] = experts[expert].picture[channel];
    }
}

}  // namespace moegs_mixture
