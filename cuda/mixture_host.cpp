// Fused inference in plain loops on the CPU: see mixture.h. What is tested with it is the code it shares with the GPU;
// nobody should render with it.
#include <algorithm>

#include "mixture_gate.h"
#include "mixture_projection.h"
#include "mixture_scratch.h"

using namespace moegs_mixture;

namespace {

void composite_pixel(const moegs_mixture_scene &scene, const moegs_mixture_gate &gate, const Binned &binned,
                     const Listed &listed, const moegs_mixture_pictures &pictures, int x, int y) {
    const float center_x = float(x) + 0.5f, center_y = float(y) + 0.5f;
    const Ray ray = pixel_ray(scene.viewmat, scene.intrinsics, center_x, center_y);
    const int64_t across = tiles_along(scene.width), down = tiles_along(scene.height);
    ExpertPixel experts[MOEGS_MIXTURE_MAX_EXPERTS];
    for (int expert = 0; expert < scene.num_experts; ++expert) {
        const int64_t list = (expert * down + y / kTile) * across + x / kTile;
        Compositing pixel;
        for (uint32_t i = listed.list_begin[list]; i < listed.list_begin[list + 1]; ++i)
            if (!pixel.add(binned.splats[listed.ids[1][i]], center_x, center_y)) break;
        experts[expert] = finish_expert(pixel, gate, expert, ray);
    }
    write_pixel(scene, gate, pictures, experts, int64_t(y) * scene.width + x);
}

// Lists of Gaussians, given in order of depth, by tile: counted, then filled.
void fill_lists(const moegs_mixture_scene &scene, const Binned &binned, const Listed &listed) {
    const int64_t across = tiles_along(scene.width), down = tiles_along(scene.height);
    const int64_t lists = number_of_lists(scene);
    const auto for_each_pair = [&](auto &&act) {
        for (int64_t i = 0; i < scene.count; ++i) {
            const uint32_t id = binned.ids[1][i];
            const TileRectangle tiles = binned.tiles[id];
            for (int64_t y = tiles.y0; y < tiles.y1; ++y)
                for (int64_t x = tiles.x0; x < tiles.x1; ++x)
                    act((scene.expert_ids[id] * down + y) * across + x, id);
        }
    };
    std::fill_n(listed.list_begin, lists + 1, 0u);
    for_each_pair([&](int64_t list, uint32_t) { ++listed.list_begin[list + 1]; });
    for (int64_t list = 0; list < lists; ++list) listed.list_begin[list + 1] += listed.list_begin[list];
    // While filling, list_begin[list] is the next free place; afterwards it is where the next list begins.
    for_each_pair([&](int64_t list, uint32_t id) { listed.ids[1][listed.list_begin[list]++] = id; });
    std::copy_backward(listed.list_begin, listed.list_begin + lists, listed.list_begin + lists + 1);
    listed.list_begin[0] = 0;
}

}  // namespace

extern "C" {

int32_t moegs_mixture_abi(void) { return MOEGS_MIXTURE_ABI; }

int32_t moegs_mixture_runs_on_cuda(void) { return 0; }

const char *moegs_mixture_last_error(void) { return ""; }

int64_t moegs_mixture_bin_bytes(const moegs_mixture_scene *scene, int32_t) {
    const int32_t status = check_scene(*scene);
    return status != MOEGS_MIXTURE_OK ? -status : Binned(*scene, nullptr, 0).bytes;
}

int64_t moegs_mixture_draw_bytes(const moegs_mixture_scene *scene, int64_t pairs, int32_t) {
    const int32_t status = first_failure(check_scene(*scene), check_pairs(pairs));
    return status != MOEGS_MIXTURE_OK ? -status : Listed(*scene, pairs, nullptr, 0).bytes;
}

int32_t moegs_mixture_bin(const moegs_mixture_scene *scene, void *scratch, int64_t scratch_bytes, int64_t *totals,
                          int32_t, void *) {
    const int32_t status = check_scene(*scene);
    if (status != MOEGS_MIXTURE_OK) return status;
    const Binned binned(*scene, scratch, 0);
    if (scratch_bytes < binned.bytes) return MOEGS_MIXTURE_SMALL_SCRATCH;
    totals[0] = totals[1] = 0;
    for (int64_t i = 0; i < scene->count; ++i) {
        const Outcome outcome = project_gaussian(*scene, i, binned.splats[i], binned.tiles[i]);
        binned.depth_keys[0][i] = outcome == Outcome::kDrawn ? depth_key(binned.splats[i].depth) : kBehindAll;
        binned.ids[1][i] = uint32_t(i);
        totals[0] += binned.tiles[i].tiles();
        totals[1] += outcome == Outcome::kBadExpert;
    }
    std::stable_sort(binned.ids[1], binned.ids[1] + scene->count, [&](uint32_t a, uint32_t b) {
        return binned.depth_keys[0][a] < binned.depth_keys[0][b];
    });
    return MOEGS_MIXTURE_OK;
}

int32_t moegs_mixture_draw(const moegs_mixture_scene *scene, const moegs_mixture_gate *gate, void *binned_scratch,
                           int64_t pairs, void *scratch, int64_t scratch_bytes, const moegs_mixture_pictures *pictures,
                           int32_t, void *) {
    const int32_t status = first_failure(check_scene(*scene), check_pairs(pairs), check_gate(*scene, *gate));
    if (status != MOEGS_MIXTURE_OK) return status;
    const Binned binned(*scene, binned_scratch, 0);
    const Listed listed(*scene, pairs, scratch, 0);
    if (scratch_bytes < listed.bytes) return MOEGS_MIXTURE_SMALL_SCRATCH;
    fill_lists(*scene, binned, listed);
    for (int y = 0; y < scene->height; ++y)
        for (int x = 0; x < scene->width; ++x) composite_pixel(*scene, *gate, binned, listed, *pictures, x, y);
    return MOEGS_MIXTURE_OK;
}

}  // extern "C"
