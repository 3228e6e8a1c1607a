// Compositing of one expert's Gaussians in one pixel. For GPU and host.
#pragma once

#include "mixture_shared.h"

namespace moegs_mixture {

// What one expert's Gaussians, front to back, have made of a pixel so far.
struct Compositing {
    float transmittance = 1.0f;
    float color[3] = {0.0f, 0.0f, 0.0f};
    float weights[3] = {0.0f, 0.0f, 0.0f};
    float depth = 0.0f;

    // Blends the next Gaussian at the pixel's centre (x, y). False: the pixel has ended, and this Gaussian, which would
    // have left too little light, is not part of it.
    MOEGS_SHARED bool add(const Splat &splat, float x, float y) {
        const float dx = splat.x - x, dy = splat.y - y;
        const float along = dx - splat.slope * dy;
        const float exponent = splat.half_a * along * along + splat.half_d * dy * dy;
        const float alpha = smaller(kMaxAlpha, splat.opacity * falloff_exp(-exponent));
        if (!(alpha >= kMinAlpha)) return true;
        const float remaining = transmittance * (1.0f - alpha);
        if (remaining <= kMinTransmittance) return false;
        const float share = alpha * transmittance;
        for (int channel = 0; channel < 3; ++channel) {
            color[channel] += share * splat.color[channel];
            weights[channel] += share * splat.weights[channel];
        }
        depth += share * splat.depth;
        transmittance = remaining;
        return true;
    }

    MOEGS_SHARED float alpha() const { return 1.0f - transmittance; }
};

}  // namespace moegs_mixture
