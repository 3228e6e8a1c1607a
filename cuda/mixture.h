// C interface of fused inference: one frame of a mixture, from the Gaussians of K experts to RGB, for evaluation.
//
// Two libraries have it. mixture_cuda.cu is compiled with nvcc and runs on a GPU. mixture_host.cpp is compiled with any
// C++17 compiler and runs the same per-Gaussian and per-pixel code (mixture_projection.h, mixture_pixel.h, mixture_gate.h)
// in plain loops: slow, for tests where no GPU is.
//
// Every array is dense, row-major, float32 (or int32 where said), owned by the caller and in the memory the library runs
// on: device memory, or the host's. That includes the camera, so that no call waits for it. No call allocates memory or
// waits for the GPU. A frame takes two calls, because how much memory the second needs only the first finds out:
//
//     moegs_mixture_bin    projects and orders the Gaussians, counts the (Gaussian, tile) pairs
//     (the caller reads the count)
//     moegs_mixture_draw   lists, sorts and composites them, and blends the experts
//
// Numeric rules are gsplat 1.4.0's, as in splat_cpu.h. Each expert has its own transmittance (MoE-GS Eq. 5); per pixel, a
// network refines the composited weights of each expert into a logit (Eq. 7), and the experts' pictures are blended by the
// softmax of the logits (Eq. 8).
#ifndef MOEGS_MIXTURE_H
#define MOEGS_MIXTURE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Raised whenever anything below changes, so that a caller can refuse a library it does not know.
#define MOEGS_MIXTURE_ABI 1

enum {
    MOEGS_MIXTURE_MAX_EXPERTS = 8,
    MOEGS_MIXTURE_MAX_LAYERS = 4,
    MOEGS_MIXTURE_MAX_UNITS = 32,  // inputs or outputs of a layer
};

enum {
    MOEGS_MIXTURE_OK = 0,
    MOEGS_MIXTURE_BAD_ARGUMENT = 1,   // a number of experts, layers or units, or a size, out of range
    MOEGS_MIXTURE_TOO_LARGE = 2,      // more than 2^31 - 1 Gaussians, pairs or lists, or an image side above 2^19 pixels
    MOEGS_MIXTURE_SMALL_SCRATCH = 3,  // scratch memory smaller than asked for
    MOEGS_MIXTURE_CUDA_ERROR = 4,     // see moegs_mixture_last_error
};

// How one expert's Gaussians are projected; meanings as in moegs_camera of splat_cpu.h.
typedef struct {
    int32_t antialiased;
    float eps2d, near_plane, far_plane, radius_clip;
} moegs_mixture_projection;

typedef struct {
    int64_t count;        // N
    int32_t num_experts;  // K
    int32_t width, height;
    const float *means /*[N,3]*/, *quats /*[N,4] wxyz, any length*/, *scales /*[N,3]*/, *opacities /*[N]*/;
    const float *colors /*[N,3]*/, *weights /*[N,3]: w, w_dir, t * w_time (Eq. 6)*/;
    const int32_t *expert_ids;  // [N] in [0, K)
    const float *viewmat /*[4,4] world to camera, OpenCV*/, *intrinsics /*[3,3] pixels*/;
    moegs_mixture_projection projections[MOEGS_MIXTURE_MAX_EXPERTS];
} moegs_mixture_scene;

// What becomes of the composited channels. The network is a chain of matrices without bias, with ReLU between them. Its
// inputs are w_dir, t * w_time and `ray_count` numbers of the pixel's ray (centre xyz, unit direction xyz) from the
// `ray_first`-th on; its one output is added to w.
typedef struct {
    int32_t layers;
    int32_t units[MOEGS_MIXTURE_MAX_LAYERS + 1];      // inputs of each layer, then 1
    const float *matrices[MOEGS_MIXTURE_MAX_LAYERS];  // [units[i + 1], units[i]]
    int32_t ray_first, ray_count;
    float temperature;                                // > 0, divides the logits
    int32_t top_k;                                    // blend only that many experts per pixel; 0 = all
    float weight_background;                          // of all three weight channels
    const float *backgrounds;                         // [K,3] colours
} moegs_mixture_gate;

// What is written; whatever is null is not.
typedef struct {
    float *rgb;           // [H,W,3] in [0,1]
    float *accumulation;  // [H,W] gated sum of the experts' opacities
    float *depth;         // [H,W] expected z-depth of what is blended, 0 where nothing is
    float *gates;         // [K,H,W] sum to 1
    float *pictures;      // [K,H,W,3] in [0,1], of each expert
} moegs_mixture_pictures;

int32_t moegs_mixture_abi(void);
int32_t moegs_mixture_runs_on_cuda(void);       // 1: arrays are in device memory; 0: in the host's
const char *moegs_mixture_last_error(void);     // of this thread; empty when there was none

// In all functions below `device` and `stream` (a cudaStream_t) say where CUDA runs it; the host's library does not read
// them. Arrays of a scene are not read for asking how much memory it needs.

// Bytes of scratch memory, aligned to 64, that the next two functions need; below 0 a failure: minus the status.
int64_t moegs_mixture_bin_bytes(const moegs_mixture_scene *scene, int32_t device);
int64_t moegs_mixture_draw_bytes(const moegs_mixture_scene *scene, int64_t pairs, int32_t device);

// Writes totals [2]: the number of (Gaussian, tile) pairs, and that of Gaussians whose expert id is out of range, which are
// left out.
int32_t moegs_mixture_bin(const moegs_mixture_scene *scene, void *scratch, int64_t scratch_bytes, int64_t *totals,
                          int32_t device, void *stream);

// `binned` is the scratch memory moegs_mixture_bin has filled for the same scene; `pairs` is what it counted.
int32_t moegs_mixture_draw(const moegs_mixture_scene *scene, const moegs_mixture_gate *gate, void *binned,
                           int64_t pairs, void *scratch, int64_t scratch_bytes, const moegs_mixture_pictures *pictures,
                           int32_t device, void *stream);

#ifdef __cplusplus
}
#endif

#endif
