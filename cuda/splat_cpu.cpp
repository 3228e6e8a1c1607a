// The C interface of splat_cpu.h over the kernels of the cpu_*.h headers.
#include "splat_cpu.h"

#include <new>

#include "cpu_composite_backward.h"
#include "cpu_composite_forward.h"
#include "cpu_binning.h"
#include "cpu_projection.h"

using namespace moegs;

namespace {

template <class Body>
int32_t guarded(const Body &body) {
    try {
        return body();
    } catch (const std::bad_alloc &) {
        return MOEGS_OUT_OF_MEMORY;
    }
}

using ForwardTile = void (*)(const moegs_frame &, int64_t, float *, float *);
using BackwardTile = void (*)(const moegs_frame &, int64_t, const Upstream &, int, float *, uint8_t *);

// Channel counts up to kMaxStaticChannels have their own loops; index 0 serves every other count.
constexpr ForwardTile kForward[] = {
    composite_tile_forward<0>, composite_tile_forward<1>, composite_tile_forward<2>,
    composite_tile_forward<3>, composite_tile_forward<4>, composite_tile_forward<5>,
    composite_tile_forward<6>, composite_tile_forward<7>, composite_tile_forward<8>,
};
#define MOEGS_BACKWARD(C) \
    {composite_tile_backward<C, false, false>, composite_tile_backward<C, true, false>, \
     composite_tile_backward<C, true, true>}
constexpr BackwardTile kBackward[][3] = {
    MOEGS_BACKWARD(0), MOEGS_BACKWARD(1), MOEGS_BACKWARD(2), MOEGS_BACKWARD(3), MOEGS_BACKWARD(4),
    MOEGS_BACKWARD(5), MOEGS_BACKWARD(6), MOEGS_BACKWARD(7), MOEGS_BACKWARD(8),
};
static_assert(sizeof(kForward) / sizeof(kForward[0]) == kMaxStaticChannels + 1, "one loop per static channel count");

int specialisation(int channels) { return channels <= kMaxStaticChannels ? channels : 0; }

}  // namespace

extern "C" {

int32_t moegs_abi(void) { return MOEGS_SPLAT_ABI; }
int32_t moegs_vector_width(void) { return kWidth; }
int32_t moegs_parallel_kind(void) { return kParallelKind; }

int32_t moegs_project_forward(int64_t count, const float *means, const float *quats, const float *scales,
                              const moegs_camera *camera, int32_t threads, float *means2d, float *depths,
                              float *conics, float *compensations, int32_t *radii) {
    const int64_t groups = (count + kLanes - 1) / kLanes;
    on_ranges(groups, threads, [&](int, int64_t begin, int64_t end) {
        for (int64_t group = begin; group < end; ++group) {
            const int64_t i = group * kLanes;
            project_forward_lanes(means + 3 * i, quats + 4 * i, scales + 3 * i, int(std::min<int64_t>(kLanes, count - i)),
                                  *camera, means2d + 2 * i, depths + i, conics + 3 * i, compensations + i, radii + i);
        }
    });
    return MOEGS_OK;
}

int32_t moegs_project_backward(int64_t count, const float *means, const float *quats, const float *scales,
                               const moegs_camera *camera, int32_t threads, const int32_t *radii,
                               const float *v_means2d, const float *v_depths, const float *v_conics,
                               const float *v_compensations, float *v_means, float *v_quats, float *v_scales) {
    const int64_t groups = (count + kLanes - 1) / kLanes;
    on_ranges(groups, threads, [&](int, int64_t begin, int64_t end) {
        for (int64_t group = begin; group < end; ++group) {
            const int64_t i = group * kLanes;
            const auto from = [i](const float *array, int columns) { return array ? array + columns * i : nullptr; };
            project_backward_lanes(means + 3 * i, quats + 4 * i, scales + 3 * i,
                                   int(std::min<int64_t>(kLanes, count - i)), *camera, radii + i, from(v_means2d, 2),
                                   from(v_depths, 1), from(v_conics, 3), from(v_compensations, 1), v_means + 3 * i,
                                   v_quats + 4 * i, v_scales + 3 * i);
        }
    });
    return MOEGS_OK;
}

int32_t moegs_composite_forward(int64_t count, int32_t channels, int32_t num_experts, int32_t width, int32_t height,
                                const float *means2d, const float *conics, const float *opacities,
                                const float *values, const float *depths, const int32_t *radii,
                                const int32_t *expert_ids, int32_t threads, float *images, float *alphas,
                                moegs_frame **frame) {
    return guarded([&]() -> int32_t {
        if (width >= (1 << 19) || height >= (1 << 19) || count > 0x7fffffff) return MOEGS_TOO_LARGE;
        moegs_frame *f = new moegs_frame{};
        struct Owner {
            moegs_frame *frame;
            ~Owner() { delete frame; }
        } owner{f};
        f->count = count;
        f->channels = channels;
        f->padded_channels = padded_channels(channels);
        f->num_experts = num_experts;
        f->width = width;
        f->height = height;
        f->tiles_x = (width + kTile - 1) / kTile;
        f->tiles_y = (height + kTile - 1) / kTile;
        f->stride = (kRecordFloats + f->padded_channels + 15) / 16 * 16;
        const SceneInput input{means2d, conics, opacities, values, depths, radii, expert_ids};
        const int32_t status = bin_gaussians(*f, input, threads);
        if (status != MOEGS_OK) return status;
        f->entry_blocks = Array<uint16_t>(size_t(f->num_entries));
        if (frame) {
            f->final_transmittance = Array<float>(size_t(f->jobs()) * kTilePixels);
            f->last_entry = Array<int32_t>(size_t(f->jobs()) * kTilePixels);
        }
        const ForwardTile tile = kForward[specialisation(channels)];
        on_tasks(f->jobs(), threads, [&](int64_t job) { tile(*f, job, images, alphas); });
        if (frame) {
            *frame = f;
            owner.frame = nullptr;
        }
        return MOEGS_OK;
    });
}

int32_t moegs_composite_backward(const moegs_frame *frame, int32_t threads, const float *v_images,
                                 const float *v_alphas, float *v_means2d, float *v_conics, float *v_opacities,
                                 float *v_values, float *v_abs_means2d) {
    return guarded([&]() -> int32_t {
        const moegs_frame &f = *frame;
        const bool geometry = v_means2d != nullptr, with_absolute = geometry && v_abs_means2d != nullptr;
        const RowLayout layout(f, geometry, with_absolute);
        Array<float> rows{size_t(f.num_entries) * size_t(layout.floats)};
        Array<uint8_t> row_written{size_t(f.num_entries)};
        std::memset(row_written.data(), 0, size_t(f.num_entries));
        const Upstream upstream{v_images, v_alphas};
        const BackwardTile tile = kBackward[specialisation(f.channels)][geometry + with_absolute];
        on_tasks(f.jobs(), threads, [&](int64_t job) {
            tile(f, job, upstream, layout.floats, rows.data(), row_written.data());
        });

        const Gradients out{v_means2d, v_conics, v_opacities, v_values, v_abs_means2d};
        const int vectors = layout.floats / kLanes;
        Array<Floats> totals{size_t(threads * vectors)};
        on_ranges(f.count, threads, [&](int worker, int64_t begin, int64_t end) {
            for (int64_t g = begin; g < end; ++g)
                finish_gaussian(f, layout, g, rows.data(), row_written.data(),
                                totals.data() + size_t(worker * vectors), out);
        });
        return MOEGS_OK;
    });
}

int64_t moegs_frame_intersections(const moegs_frame *frame) { return frame->num_entries; }

void moegs_frame_free(moegs_frame *frame) { delete frame; }

}  // extern "C"
