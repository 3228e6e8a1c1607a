// The C interface of splat_cpu.h over the kernels of the cpu_*.h headers.
#include "splat_cpu.h"

#include <new>

#include "cpu_adam.h"
#include "cpu_composite_backward.h"
#include "cpu_composite_forward.h"
#include "cpu_binning.h"
#include "cpu_colors.h"
#include "cpu_decoder.h"
#include "cpu_deformed.h"
#include "cpu_differences.h"
#include "cpu_heads.h"
#include "cpu_keyframes.h"
#include "cpu_photometric.h"
#include "cpu_planes.h"
#include "cpu_projection.h"
#include "cpu_ssim.h"
#include "cpu_statistics.h"

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

using ShForward = void (*)(const float *, const float *, const float *, int, int, float *);
constexpr ShForward kShForward[] = {sh_forward_lanes<0>, sh_forward_lanes<1>, sh_forward_lanes<2>, sh_forward_lanes<3>};
using ShBackward = void (*)(const float *, const float *, const float *, const float *, int, int, float *);
constexpr ShBackward kShBackward[] = {sh_backward_lanes<0>, sh_backward_lanes<1>, sh_backward_lanes<2>,
                                      sh_backward_lanes<3>};

int specialisation(int channels) { return channels <= kMaxStaticChannels ? channels : 0; }

}  // namespace

extern "C" {

int32_t moegs_abi(void) { return MOEGS_SPLAT_ABI; }
void moegs_forked(void) { in_forked_child() = true; }
int32_t moegs_vector_width(void) { return kWidth; }
int32_t moegs_parallel_kind(void) { return parallel_kind(); }

int32_t moegs_project_forward(int64_t count, const float *means, const float *quats, const float *scales,
                              const moegs_camera *camera, int32_t threads, float *means2d, float *depths,
                              float *conics, float *compensations, int32_t *radii) {
    return guarded([&]() -> int32_t {
        const int64_t groups = (count + kLanes - 1) / kLanes;
        on_ranges(groups, threads, [&](int, int64_t begin, int64_t end) {
            for (int64_t group = begin; group < end; ++group) {
                const int64_t i = group * kLanes;
                project_forward_lanes(means + 3 * i, quats + 4 * i, scales + 3 * i, int(std::min<int64_t>(kLanes, count - i)),
                                      *camera, means2d + 2 * i, depths + i, conics + 3 * i, compensations + i, radii + i);
            }
        });
        return MOEGS_OK;
    });
}

int32_t moegs_project_backward(int64_t count, const float *means, const float *quats, const float *scales,
                               const moegs_camera *camera, int32_t threads, const int32_t *radii,
                               const float *v_means2d, const float *v_depths, const float *v_conics,
                               const float *v_compensations, float *v_means, float *v_quats, float *v_scales) {
    return guarded([&]() -> int32_t {
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
    });
}

int32_t moegs_composite_forward(const moegs_parts *parts, int32_t num_experts, int32_t width, int32_t height,
                                const float *means2d, const float *conics, const float *depths, const int32_t *radii,
                                const int32_t *expert_ids, int32_t threads, float *images, float *alphas,
                                moegs_frame **frame) {
    return guarded([&]() -> int32_t {
        int64_t count = 0;
        for (int part = 0; part < parts->parts; ++part) count += parts->part[part].count;
        int channels = 0;
        for (int block = 0; block < parts->blocks; ++block) channels += parts->widths[block];
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
        if (!expert_ids && parts->parts == num_experts) {
            f->begin_of_expert.push_back(0);
            for (int part = 0; part < parts->parts; ++part)
                f->begin_of_expert.push_back(f->begin_of_expert.back() + parts->part[part].count);
        }
        const SceneInput input{*parts, means2d, conics, depths, radii, expert_ids};
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
        const bool geometry = v_means2d != nullptr, with_absolute = geometry && v_abs_means2d != nullptr;
        const Gradients out{v_means2d, v_conics, v_opacities, v_values, v_abs_means2d};
        composite_backward(*frame, threads, Upstream{v_images, v_alphas}, out,
                           kBackward[specialisation(frame->channels)][geometry + with_absolute]);
        return MOEGS_OK;
    });
}

int64_t moegs_frame_intersections(const moegs_frame *frame) { return frame->num_entries; }

void moegs_frame_free(moegs_frame *frame) { delete frame; }

int32_t moegs_sh_forward(int64_t count, int32_t degree, int32_t bases, const float *directions, const float *origin,
                         const float *sh, int32_t threads, float *colors) {
    return guarded([&]() -> int32_t {
        on_ranges((count + kLanes - 1) / kLanes, threads, [&](int, int64_t begin, int64_t end) {
            for (int64_t i = begin * kLanes; i < std::min(count, end * kLanes); i += kLanes)
                kShForward[degree](directions + 3 * i, origin, sh + 3 * bases * i, bases,
                                   int(std::min<int64_t>(kLanes, count - i)), colors + 3 * i);
        });
        return MOEGS_OK;
    });
}

int32_t moegs_sh_backward(int64_t count, int32_t degree, int32_t bases, const float *directions, const float *origin,
                          const float *colors, const float *v_colors, int32_t threads, float *v_sh) {
    return guarded([&]() -> int32_t {
        on_ranges((count + kLanes - 1) / kLanes, threads, [&](int, int64_t begin, int64_t end) {
            for (int64_t i = begin * kLanes; i < std::min(count, end * kLanes); i += kLanes)
                kShBackward[degree](directions + 3 * i, origin, colors ? colors + 3 * i : nullptr, v_colors + 3 * i, bases,
                                    int(std::min<int64_t>(kLanes, count - i)), v_sh + 3 * bases * i);
        });
        return MOEGS_OK;
    });
}

int32_t moegs_ssim_forward(int32_t height, int32_t width, int32_t channels, const float *x, const float *y,
                           int32_t threads, float *map, float *partials) {
    return guarded([&]() -> int32_t {
        const SsimImages images{height, int64_t(width) * channels, channels, x, y};
        on_ranges(height, threads, [&](int, int64_t begin, int64_t end) {
            ssim_forward_rows(images, begin, end, map, partials);
        });
        return MOEGS_OK;
    });
}

int32_t moegs_ssim_backward(int32_t height, int32_t width, int32_t channels, const float *x, const float *y,
                            const float *partials, const float *v_map, int32_t threads, float *v_x) {
    return guarded([&]() -> int32_t {
        const SsimImages images{height, int64_t(width) * channels, channels, x, y};
        on_ranges(height, threads, [&](int, int64_t begin, int64_t end) {
            ssim_backward_rows<true>(images, partials, v_map, begin, end, [](float v, int64_t) { return v; }, v_x);
        });
        return MOEGS_OK;
    });
}

int32_t moegs_photometric(int32_t height, int32_t width, int32_t channels, const float *x, const float *y,
                          float ssim_weight, int32_t threads, float *loss, float *maps, float *v_x) {
    return guarded([&]() -> int32_t {
        const SsimImages images{height, int64_t(width) * channels, channels, x, y};
        *loss = photometric(images, ssim_weight, threads, maps, v_x);
        return MOEGS_OK;
    });
}

int32_t moegs_planes_forward(int64_t count, int32_t channels, int32_t size, const float *points, const float *planes,
                             const float *lines, int64_t stride, int32_t threads, float *features) {
    return guarded([&]() -> int32_t {
        const PlaneLevel level{count, channels, size, points, planes, lines};
        on_ranges(count, threads, [&](int, int64_t begin, int64_t end) {
            planes_forward(level, begin, end, stride, features);
        });
        return MOEGS_OK;
    });
}

int32_t moegs_planes_backward(int64_t count, int32_t channels, int32_t size, const float *points, const float *planes,
                              const float *lines, int64_t stride, const float *v_features, int32_t threads,
                              float *v_points, float *v_planes, float *v_lines) {
    return guarded([&]() -> int32_t {
        const PlaneLevel level{count, channels, size, points, planes, lines};
        planes_backward(level, stride, v_features, threads, v_points, v_planes, v_lines);
        return MOEGS_OK;
    });
}

int32_t moegs_mean_difference(int64_t count, int32_t neighbors, int32_t size, const float *rows, const int64_t *index,
                              const float *weight, const int64_t *order, const int64_t *starts, int32_t threads,
                              float *mean, float *v_rows) {
    return guarded([&]() -> int32_t {
        const DifferenceGraph graph{count, neighbors, index, weight, order, starts};
        const int64_t edges = count * neighbors;
        Array<float> node_sums{size_t(count)}, factors{size_t(edges)};
        on_ranges(count, threads, [&](int, int64_t begin, int64_t end) {
            (size == 32 ? outgoing_differences<32> : outgoing_differences<0>)(graph, rows, size, begin, end,
                                                                              node_sums.data(), factors.data(), v_rows);
        });
        on_ranges(count, threads, [&](int, int64_t begin, int64_t end) {
            (size == 32 ? incoming_differences<32> : incoming_differences<0>)(
                graph, rows, size, factors.data(), float(1.0 / double(edges)), begin, end, v_rows);
        });
        double total = 0.0;
        for (int64_t i = 0; i < count; ++i) total += double(node_sums[size_t(i)]);
        *mean = float(total / double(edges));
        return MOEGS_OK;
    });
}

int32_t moegs_keyframes_forward(const moegs_keyframes *keyframes, int32_t threads, float *means, float *quats,
                                float *visible) {
    return guarded([&]() -> int32_t {
        on_ranges(keyframes->count, threads, [&](int, int64_t begin, int64_t end) {
            keyframes_forward(*keyframes, begin, end, means, quats, visible);
        });
        return MOEGS_OK;
    });
}

int32_t moegs_keyframes_backward(const moegs_keyframes *keyframes, int32_t threads, const float *v_means,
                                 const float *v_quats, const float *v_visible, float *v_mean_keys, float *v_quat_keys,
                                 float *v_centers, float *v_log_widths) {
    return guarded([&]() -> int32_t {
        on_ranges(keyframes->count, threads, [&](int, int64_t begin, int64_t end) {
            keyframes_backward(*keyframes, begin, end, v_means, v_quats, v_visible, v_mean_keys, v_quat_keys, v_centers,
                               v_log_widths);
        });
        return MOEGS_OK;
    });
}

int32_t moegs_deformed_forward(int64_t count, int32_t bases, const moegs_gaussians *raw, const moegs_changes *changes,
                               int32_t threads, const moegs_deformed *deformed) {
    return guarded([&]() -> int32_t {
        if (raw->rows && !ascending_rows(raw->rows, count, raw->total)) return MOEGS_BAD_ROWS;
        on_ranges(count, threads, [&](int, int64_t begin, int64_t end) {
            deformed_forward(*raw, *changes, bases, begin, end, *deformed);
        });
        return MOEGS_OK;
    });
}

int32_t moegs_deformed_backward(int64_t count, int32_t bases, const moegs_deformed *deformed, const moegs_changes *v,
                                int32_t threads, const moegs_raw_gradients *gradients, const moegs_all_gradients *all) {
    return guarded([&]() -> int32_t {
        on_ranges(count, threads, [&](int, int64_t begin, int64_t end) {
            deformed_backward(*deformed, *v, bases, count, begin, end, *gradients, *all);
        });
        return MOEGS_OK;
    });
}

int32_t moegs_decoder_forward(int64_t count, int64_t stride, int32_t sigmoid, const float *features, const float *rays,
                              const float *hidden_weight, const float *color_weight, int32_t threads, float *rgb) {
    return guarded([&]() -> int32_t {
        const Decoder decoder{count, stride, features, rays, hidden_weight, color_weight, sigmoid != 0};
        on_ranges((count + kLanes - 1) / kLanes, threads, [&](int, int64_t begin, int64_t end) {
            for (int64_t i = begin * kLanes; i < std::min(count, end * kLanes); i += kLanes)
                decoder_forward_lanes(decoder, i, int(std::min<int64_t>(kLanes, count - i)), rgb);
        });
        return MOEGS_OK;
    });
}

int32_t moegs_decoder_backward(int64_t count, int64_t stride, int32_t sigmoid, const float *features, const float *rays,
                               const float *hidden_weight, const float *color_weight, const float *v_rgb,
                               int32_t threads, float *v_features, float *v_hidden_weight, float *v_color_weight) {
    return guarded([&]() -> int32_t {
        const Decoder decoder{count, stride, features, rays, hidden_weight, color_weight, sigmoid != 0};
        decoder_backward(decoder, v_rgb, threads, v_features, v_hidden_weight, v_color_weight);
        return MOEGS_OK;
    });
}

int32_t moegs_heads_forward(const moegs_heads *network, int32_t threads, float *const *values, float *trunk_hidden,
                            float *head_hidden) {
    return guarded([&]() -> int32_t {
        heads_forward(*network, threads, values, trunk_hidden, head_hidden);
        return MOEGS_OK;
    });
}

int32_t moegs_heads_backward(const moegs_heads *network, const float *trunk_hidden, const float *head_hidden,
                             const float *const *v_values, int32_t threads, float *v_features, float *v_parameters) {
    return guarded([&]() -> int32_t {
        heads_backward(*network, trunk_hidden, head_hidden, v_values, threads, v_features, v_parameters);
        return MOEGS_OK;
    });
}

int32_t moegs_add_gradients(int64_t count, const int64_t *rows, int64_t total, const float *v_means2d,
                            const uint8_t *visible, float half_width, float half_height, int32_t threads, float *sums,
                            float *counts) {
    return guarded([&]() -> int32_t {
        if (rows && !ascending_rows(rows, count, total)) return MOEGS_BAD_ROWS;
        on_ranges(count, threads, [&](int, int64_t begin, int64_t end) {
            add_gradients(rows, v_means2d, visible, half_width, half_height, begin, end, sums, counts);
        });
        return MOEGS_OK;
    });
}

int32_t moegs_mean_reach(int64_t count, int32_t keyframes, int32_t reached, const float *means, int32_t threads,
                         float *mean, float *v_means) {
    return guarded([&]() -> int32_t {
        const double terms = double(count) * double(reached - 1);
        Array<float> row_sums{size_t(count)};
        on_ranges(count, threads, [&](int, int64_t begin, int64_t end) {
            reach_rows(begin, end, keyframes, reached, float(1.0 / terms), means, row_sums.data(), v_means);
        });
        double total = 0.0;
        for (int64_t i = 0; i < count; ++i) total += double(row_sums[size_t(i)]);
        *mean = float(total / terms);
        return MOEGS_OK;
    });
}

int32_t moegs_adam_step(int32_t count, const moegs_adam_tensor *tensors, int32_t threads) {
    return guarded([&]() -> int32_t {
        adam_step(tensors, count, threads);
        return MOEGS_OK;
    });
}

}  // extern "C"
