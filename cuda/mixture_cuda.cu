// Fused inference on the GPU: see mixture.h. Per Gaussian and per pixel it runs the code of mixture_projection.h,
// mixture_pixel.h and mixture_gate.h, which is compiled for the host and tested there too; here is what brings the
// right Gaussians to the right pixels.
//
// Gaussians are sorted by depth once; the pairs with tiles are then written in that order and sorted by list alone. Both
// sorts keep the order of equals, so this equals sorting all pairs by (expert, tile, depth, index), at less than half
// the passes over the far more numerous pairs.
#include <cuda_runtime.h>

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include "mixture_gate.h"
#include "mixture_projection.h"
#include "mixture_scratch.h"

using namespace moegs_mixture;

namespace {

constexpr int kThreads = kTile * kTile;  // of a block; when drawing a thread per pixel of a tile

thread_local const char *last_error = "";

int32_t report(cudaError_t error) {
    if (error == cudaSuccess) return MOEGS_MIXTURE_OK;
    last_error = cudaGetErrorString(error);
    return MOEGS_MIXTURE_CUDA_ERROR;
}

// Starts a kernel in blocks of kThreads threads.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 blocks, cudaStream_t stream, Arguments... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = blocks;
    config.blockDim = dim3(kThreads);
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

dim3 blocks_for(int64_t threads) { return dim3(unsigned((threads + kThreads - 1) / kThreads)); }

__device__ int64_t thread_number() { return int64_t(blockIdx.x) * kThreads + threadIdx.x; }

// First position in [begin, end] whose value is above (Inclusive: at least) the limit; values [begin, end) ascend.
template <bool Inclusive, typename T>
__device__ int64_t first_above(const T *values, int64_t begin, int64_t end, T limit) {
    while (begin < end) {
        const int64_t middle = (begin + end) / 2;
        const bool found = Inclusive ? values[middle] >= limit : values[middle] > limit;
        if (found)
            end = middle;
        else
            begin = middle + 1;
    }
    return begin;
}

__global__ void project_all(moegs_mixture_scene scene, Binned binned, int64_t *totals) {
    const int64_t i = thread_number();
    if (i >= scene.count) return;
    Splat splat;
    TileRectangle tiles;
    const Outcome outcome = project_gaussian(scene, i, splat, tiles);
    const bool drawn = outcome == Outcome::kDrawn;
    if (drawn) binned.splats[i] = splat;
    binned.tiles[i] = tiles;
    binned.depth_keys[0][i] = drawn ? depth_key(splat.depth) : kBehindAll;
    binned.ids[0][i] = uint32_t(i);
    if (outcome == Outcome::kBadExpert)
        atomicAdd(reinterpret_cast<unsigned long long *>(totals + 1), 1ull);
}

// Number of tiles of each Gaussian, in order of depth.
__global__ void count_tiles(int64_t count, Binned binned) {
    const int64_t i = thread_number();
    if (i < count) binned.pairs_until[i] = binned.tiles[binned.ids[1][i]].tiles();
}

__global__ void write_total(int64_t count, Binned binned, int64_t *totals) {
    if (thread_number() == 0) totals[0] = binned.pairs_until[count - 1];
}

// A thread per pair, so that Gaussians of all sizes cost the same: it looks up whose pair it is.
__global__ void list_pairs(moegs_mixture_scene scene, Binned binned, Listed listed, int64_t pairs) {
    __shared__ int64_t range[2];  // of Gaussians, in order of depth, that this block's pairs belong to
    const int64_t begin = int64_t(blockIdx.x) * kThreads, end = begin + kThreads < pairs ? begin + kThreads : pairs;
    if (threadIdx.x < 2)
        range[threadIdx.x] = first_above<false>(binned.pairs_until, int64_t(0), scene.count - 1,
                                                threadIdx.x == 0 ? begin : end - 1);
    __syncthreads();
    const int64_t pair = begin + threadIdx.x;
    if (pair >= end) return;
    const int64_t place = first_above<false>(binned.pairs_until, range[0], range[1], pair);
    const uint32_t id = binned.ids[1][place];
    const TileRectangle tiles = binned.tiles[id];
    const uint32_t which = uint32_t(pair - (place > 0 ? binned.pairs_until[place - 1] : 0));
    const uint32_t columns = uint32_t(tiles.x1 - tiles.x0);
    const uint32_t x = tiles.x0 + which % columns, y = tiles.y0 + which / columns;
    const uint32_t row = uint32_t(scene.expert_ids[id]) * uint32_t(tiles_along(scene.height)) + y;
    listed.lists[0][pair] = row * uint32_t(tiles_along(scene.width)) + x;
    listed.ids[0][pair] = id;
}

__global__ void find_lists(int64_t lists, Listed listed, int64_t pairs) {
    const int64_t list = thread_number();
    if (list <= lists)
        listed.list_begin[list] = uint32_t(first_above<true>(listed.lists[1], int64_t(0), pairs, uint32_t(list)));
}

// A block per tile, a thread per pixel. The experts are composited one after the other and blended at the end.
__global__ void __launch_bounds__(kThreads)
    draw_tiles(moegs_mixture_scene scene, moegs_mixture_gate gate, Binned binned, Listed listed,
               moegs_mixture_pictures pictures) {
    __shared__ Splat batch[kThreads];
    const int tile_x = int(blockIdx.x), tile_y = int(blockIdx.y);
    const int x = tile_x * kTile + int(threadIdx.x) % kTile, y = tile_y * kTile + int(threadIdx.x) / kTile;
    const float center_x = float(x) + 0.5f, center_y = float(y) + 0.5f;
    const bool inside = x < scene.width && y < scene.height;
    const int64_t across = tiles_along(scene.width), down = tiles_along(scene.height);
    const Ray ray = pixel_ray(scene.viewmat, scene.intrinsics, center_x, center_y);

    ExpertPixel experts[MOEGS_MIXTURE_MAX_EXPERTS];
    for (int expert = 0; expert < scene.num_experts; ++expert) {
        const int64_t list = (expert * down + tile_y) * across + tile_x;
        const uint32_t end = listed.list_begin[list + 1];
        Compositing pixel;
        bool ended = !inside;
        for (uint32_t begin = listed.list_begin[list]; begin < end; begin += kThreads) {
            // Also the barrier before the batch that all have read is overwritten.
            if (__syncthreads_count(ended) == kThreads) break;
            if (begin + threadIdx.x < end) batch[threadIdx.x] = binned.splats[listed.ids[1][begin + threadIdx.x]];
            __syncthreads();
            const uint32_t number = end - begin < kThreads ? end - begin : kThreads;
            for (uint32_t i = 0; i < number && !ended; ++i) ended = !pixel.add(batch[i], center_x, center_y);
        }
        if (inside) experts[expert] = finish_expert(pixel, gate, expert, ray);
    }
    if (inside) write_pixel(scene, gate, pictures, experts, int64_t(y) * scene.width + x);
}

// Bits that number all lists.
int list_bits(const moegs_mixture_scene &scene) {
    int bits = 1;
    while ((number_of_lists(scene) - 1) >> bits) ++bits;
    return bits;
}

cudaError_t sort_by_depth(const Binned &binned, int64_t count, size_t &bytes, cudaStream_t stream) {
    return cub::DeviceRadixSort::SortPairs(binned.tool_space, bytes, binned.depth_keys[0], binned.depth_keys[1],
                                           binned.ids[0], binned.ids[1], int(count), 0, 32, stream);
}

cudaError_t sum_pairs(const Binned &binned, int64_t count, size_t &bytes, cudaStream_t stream) {
    return cub::DeviceScan::InclusiveSum(binned.tool_space, bytes, binned.pairs_until, binned.pairs_until, int(count),
                                         stream);
}

cudaError_t sort_by_list(const Listed &listed, int64_t pairs, int bits, size_t &bytes, cudaStream_t stream) {
    return cub::DeviceRadixSort::SortPairs(listed.tool_space, bytes, listed.lists[0], listed.lists[1], listed.ids[0],
                                           listed.ids[1], int(pairs), 0, bits, stream);
}

// What CUB asks for, for either of its two uses. Never 0: with null for memory it would only say so again.
cudaError_t ask_binning_tools(const moegs_mixture_scene &scene, int64_t &bytes) {
    const Binned nowhere(scene, nullptr, 0);
    size_t sorting = 0, summing = 0;
    cudaError_t error = sort_by_depth(nowhere, scene.count, sorting, nullptr);
    if (error == cudaSuccess) error = sum_pairs(nowhere, scene.count, summing, nullptr);
    bytes = int64_t(sorting > summing ? sorting : summing) + 1;
    return error;
}

cudaError_t ask_listing_tools(const moegs_mixture_scene &scene, int64_t pairs, int64_t &bytes) {
    size_t sorting = 0;
    const cudaError_t error = sort_by_list(Listed(scene, pairs, nullptr, 0), pairs, list_bits(scene), sorting, nullptr);
    bytes = int64_t(sorting) + 1;
    return error;
}

cudaError_t run_binning(const moegs_mixture_scene &scene, const Binned &binned, int64_t tool_bytes, int64_t *totals,
                        cudaStream_t stream) {
    cudaError_t error = cudaMemsetAsync(totals, 0, 2 * sizeof(int64_t), stream);
    if (scene.count == 0) return error;
    const dim3 blocks = blocks_for(scene.count);
    size_t bytes = size_t(tool_bytes);
    if (error == cudaSuccess) error = launch(project_all, blocks, stream, scene, binned, totals);
    if (error == cudaSuccess) error = sort_by_depth(binned, scene.count, bytes, stream);
    if (error == cudaSuccess) error = launch(count_tiles, blocks, stream, scene.count, binned);
    bytes = size_t(tool_bytes);
    if (error == cudaSuccess) error = sum_pairs(binned, scene.count, bytes, stream);
    if (error == cudaSuccess) error = launch(write_total, dim3(1), stream, scene.count, binned, totals);
    return error;
}

cudaError_t run_drawing(const moegs_mixture_scene &scene, const moegs_mixture_gate &gate, const Binned &binned,
                        const Listed &listed, int64_t pairs, int64_t tool_bytes,
                        const moegs_mixture_pictures &pictures, cudaStream_t stream) {
    const int64_t lists = number_of_lists(scene);
    cudaError_t error = cudaSuccess;
    if (pairs > 0) {
        size_t bytes = size_t(tool_bytes);
        error = launch(list_pairs, blocks_for(pairs), stream, scene, binned, listed, pairs);
        if (error == cudaSuccess) error = sort_by_list(listed, pairs, list_bits(scene), bytes, stream);
    }
    if (error == cudaSuccess) error = launch(find_lists, blocks_for(lists + 1), stream, lists, listed, pairs);
    const dim3 tiles(unsigned(tiles_along(scene.width)), unsigned(tiles_along(scene.height)));
    if (error == cudaSuccess) error = launch(draw_tiles, tiles, stream, scene, gate, binned, listed, pictures);
    return error;
}

}  // namespace

extern "C" {

int32_t moegs_mixture_abi(void) { return MOEGS_MIXTURE_ABI; }

int32_t moegs_mixture_runs_on_cuda(void) { return 1; }

const char *moegs_mixture_last_error(void) { return last_error; }

int64_t moegs_mixture_bin_bytes(const moegs_mixture_scene *scene, int32_t device) {
    int64_t tool_bytes = 0;
    int32_t status = check_scene(*scene);
    if (status == MOEGS_MIXTURE_OK) status = report(cudaSetDevice(device));
    if (status == MOEGS_MIXTURE_OK) status = report(ask_binning_tools(*scene, tool_bytes));
    return status != MOEGS_MIXTURE_OK ? -status : Binned(*scene, nullptr, tool_bytes).bytes;
}

int64_t moegs_mixture_draw_bytes(const moegs_mixture_scene *scene, int64_t pairs, int32_t device) {
    int64_t tool_bytes = 0;
    int32_t status = first_failure(check_scene(*scene), check_pairs(pairs));
    if (status == MOEGS_MIXTURE_OK) status = report(cudaSetDevice(device));
    if (status == MOEGS_MIXTURE_OK) status = report(ask_listing_tools(*scene, pairs, tool_bytes));
    return status != MOEGS_MIXTURE_OK ? -status : Listed(*scene, pairs, nullptr, tool_bytes).bytes;
}

int32_t moegs_mixture_bin(const moegs_mixture_scene *scene, void *scratch, int64_t scratch_bytes, int64_t *totals,
                          int32_t device, void *stream) {
    int64_t tool_bytes = 0;
    int32_t status = check_scene(*scene);
    if (status == MOEGS_MIXTURE_OK) status = report(cudaSetDevice(device));
    if (status == MOEGS_MIXTURE_OK) status = report(ask_binning_tools(*scene, tool_bytes));
    if (status != MOEGS_MIXTURE_OK) return status;
    const Binned binned(*scene, scratch, tool_bytes);
    if (scratch_bytes < binned.bytes) return MOEGS_MIXTURE_SMALL_SCRATCH;
    return report(run_binning(*scene, binned, tool_bytes, totals, static_cast<cudaStream_t>(stream)));
}

int32_t moegs_mixture_draw(const moegs_mixture_scene *scene, const moegs_mixture_gate *gate, void *binned_scratch,
                           int64_t pairs, void *scratch, int64_t scratch_bytes, const moegs_mixture_pictures *pictures,
                           int32_t device, void *stream) {
    int64_t tool_bytes = 0;
    int32_t status = first_failure(check_scene(*scene), check_pairs(pairs), check_gate(*scene, *gate));
    if (status == MOEGS_MIXTURE_OK) status = report(cudaSetDevice(device));
    if (status == MOEGS_MIXTURE_OK) status = report(ask_listing_tools(*scene, pairs, tool_bytes));
    if (status != MOEGS_MIXTURE_OK) return status;
    const Binned binned(*scene, binned_scratch, 0);  // what binning's tools needed lies behind all that is read
    const Listed listed(*scene, pairs, scratch, tool_bytes);
    if (scratch_bytes < listed.bytes) return MOEGS_MIXTURE_SMALL_SCRATCH;
    return report(run_drawing(*scene, *gate, binned, listed, pairs, tool_bytes, *pictures,
                              static_cast<cudaStream_t>(stream)));
}

}  // extern "C"
