// C interface of the CPU kernels: projection, binning and compositing of 3D Gaussians, their colours, and what losses
// of a training step cost most, each forward and backward.
//
// Every array is dense, row-major, float32 (or int32 where said) and owned by the caller. No function keeps a pointer
// to a caller's array after it returns. All functions may be called from several threads at once, and in forked children.
// Conventions follow gsplat: OpenCV camera, pixel centres at +0.5, 16-pixel tiles, alpha in [1/255, 0.999], a pixel ends
// before its transmittance would fall to 1e-4; how far a Gaussian reaches differs by release and is in moegs_camera.
#ifndef MOEGS_SPLAT_CPU_H
#define MOEGS_SPLAT_CPU_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Raised whenever a signature below changes, so that a caller can refuse a library it does not know.
#define MOEGS_SPLAT_ABI 8

enum {
    MOEGS_OK = 0,
    MOEGS_BAD_EXPERT_ID = 1,  // an expert id of a visible Gaussian lies outside [0, num_experts)
    MOEGS_OUT_OF_MEMORY = 2,
    MOEGS_TOO_LARGE = 3,      // more than 2^31 - 1 (Gaussian, tile) pairs or an image side above 2^19 pixels
    MOEGS_BAD_ROWS = 4,       // rows that do not ascend within what they are rows of
};

typedef struct {
    int32_t width, height;     // pixels
    int32_t antialiased;       // 0: compensations are 1; otherwise sqrt(det / det with eps2d)
    float eps2d;               // pixels^2 added to the diagonal of the 2D covariance
    float near_plane, far_plane;
    float radius_clip;         // pixels; Gaussians whose radius is not above this are culled
    float extent_sigmas;       // how far a Gaussian reaches, in standard deviations
    int32_t extent_per_axis;   // 0: a square of the largest one; otherwise a rectangle along the image's axes
    float viewmat[16];         // world to camera (OpenCV), row-major
    float intrinsics[9];       // row-major, pixels
} moegs_camera;

typedef struct moegs_frame moegs_frame;  // what a backward pass needs to know about its forward pass

int32_t moegs_abi(void);
// For a process that was forked before it loaded the library; of later forks the library knows by itself. Its OpenMP
// team, if it had one, is gone, and waiting for it would never end.
void moegs_forked(void);
int32_t moegs_vector_width(void);  // float lanes per machine vector this build uses
int32_t moegs_parallel_kind(void);  // 0 serial, 1 std::thread, 2 OpenMP

// Culled Gaussians get radius 0 and zeros everywhere else (compensation 1 when not antialiased). The radius of a rectangle
// is its longer half side.
int32_t moegs_project_forward(int64_t count, const float *means /*[N,3]*/, const float *quats /*[N,4] wxyz*/,
                              const float *scales /*[N,3]*/, const moegs_camera *camera, int32_t threads,
                              float *means2d /*[N,2]*/, float *depths /*[N]*/, float *conics /*[N,3]*/,
                              float *compensations /*[N]*/, int32_t *radii /*[N]*/);

// Gradients of culled Gaussians are written as zero. Any of the v_ inputs may be null (zero).
int32_t moegs_project_backward(int64_t count, const float *means, const float *quats, const float *scales,
                               const moegs_camera *camera, int32_t threads, const int32_t *radii,
                               const float *v_means2d, const float *v_depths, const float *v_conics,
                               const float *v_compensations, float *v_means, float *v_quats, float *v_scales);

// Composites every expert front to back with its own transmittance. Gaussians come in parts, each with arrays of its own:
// rows of means2d and all else that is of all Gaussians are those of the first part, then those of the second, ... A
// Gaussian's channels are those of its part's blocks, side by side. expert_ids may be null: then each part is an expert,
// in their order (or, being the only one, all there is).
// With a non-null `frame`, *frame receives a new object for moegs_composite_backward; free it with moegs_frame_free.
typedef struct {
    int64_t count;               // Gaussians
    const float *opacities;      // [count]
    const float *const *values;  // [blocks], each [count, width of the block]
} moegs_part;
typedef struct {
    int32_t parts, blocks;
    const moegs_part *part;      // [parts]
    const int32_t *widths;       // [blocks] channels
} moegs_parts;
int32_t moegs_composite_forward(const moegs_parts *parts, int32_t num_experts, int32_t width, int32_t height,
                                const float *means2d /*[N,2]*/, const float *conics /*[N,3]*/,
                                const float *depths /*[N]*/, const int32_t *radii /*[N]*/,
                                const int32_t *expert_ids /*[N]*/, int32_t threads, float *images /*[K,H,W,C]*/,
                                float *alphas /*[K,H,W]*/, moegs_frame **frame);

// v_images and v_alphas may be null (zero). v_values may be null; v_means2d, v_conics and v_opacities are all given or
// all null, the latter skips every geometry gradient (training of composited features over frozen geometry).
// v_abs_means2d (sum over pixels of the absolute 2D mean gradient) may be null. Gaussians that touch no pixel get zero.
// The result is bitwise the same for any number of threads.
int32_t moegs_composite_backward(const moegs_frame *frame, int32_t threads, const float *v_images,
                                 const float *v_alphas, float *v_means2d, float *v_conics, float *v_opacities,
                                 float *v_values, float *v_abs_means2d);

int64_t moegs_frame_intersections(const moegs_frame *frame);  // number of (Gaussian, tile) pairs
void moegs_frame_free(moegs_frame *frame);

// Spherical harmonics in the directions [N,3] (any length above zero), degree 0 to 3, sh [N,bases,3] with bases >=
// (degree + 1)^2. With an origin [3] (else null) the directions are positions, seen from there, and 0.5 + the sum is
// clamped at 0; only then backward reads colors, as forward wrote them. Backward writes all of v_sh, zeros beyond the
// degree.
int32_t moegs_sh_forward(int64_t count, int32_t degree, int32_t bases, const float *directions, const float *origin,
                         const float *sh, int32_t threads, float *colors /*[N,3]*/);
int32_t moegs_sh_backward(int64_t count, int32_t degree, int32_t bases, const float *directions, const float *origin,
                          const float *colors, const float *v_colors /*[N,3]*/, int32_t threads, float *v_sh);

// Structural similarity per pixel and channel of x and y [H,W,C] (window 11, sigma 1.5, range 1, zeros outside).
// partials [3,H,W,C] may be null; backward, which gives the gradient with respect to x only, needs it.
int32_t moegs_ssim_forward(int32_t height, int32_t width, int32_t channels, const float *x, const float *y,
                           int32_t threads, float *map /*[H,W,C]*/, float *partials);
int32_t moegs_ssim_backward(int32_t height, int32_t width, int32_t channels, const float *x, const float *y,
                            const float *partials, const float *v_map, int32_t threads, float *v_x);

// (1 - w) mean |x - y| + w (1 - mean similarity) of two images [H,W,C], with w = ssim_weight; its gradient v_x with respect
// to x and, per pixel, maps [H,W,3] of 1, the mean of |x - y| and of the similarity over the channels. Both may be null.
int32_t moegs_photometric(int32_t height, int32_t width, int32_t channels, const float *x, const float *y,
                          float ssim_weight, int32_t threads, float *loss /*[1]*/, float *maps, float *v_x);

// Features of points [N,3] in [-1,1] (clamped) out of planes [3,size,size,C] over the pairs of axes (0,1), (0,2), (1,2),
// rows along the second, and lines [3,size,C] along the axes: the product of three bilinear and three linear lookups.
// Writes C floats to each of N rows of `stride` floats. Backward writes v_planes and v_lines and adds to v_points [N,3].
int32_t moegs_planes_forward(int64_t count, int32_t channels, int32_t size, const float *points, const float *planes,
                             const float *lines, int64_t stride, int32_t threads, float *features);
int32_t moegs_planes_backward(int64_t count, int32_t channels, int32_t size, const float *points, const float *planes,
                              const float *lines, int64_t stride, const float *v_features, int32_t threads,
                              float *v_points, float *v_planes, float *v_lines);

// Mean over all edges of sqrt(weight |z_i - z_j|^2 + 1e-20) and its gradient with respect to the rows z [N,S]. Node i
// has edges to index[i, :]; order [N*k] are the edges sorted by the node they lead to, starts [N] where each node's
// begin.
int32_t moegs_mean_difference(int64_t count, int32_t neighbors, int32_t size, const float *rows,
                              const int64_t *index /*[N,k]*/, const float *weight /*[N,k]*/, const int64_t *order,
                              const int64_t *starts, int32_t threads, float *mean /*[1]*/, float *v_rows /*[N,S]*/);

// Gaussians with keyframes at an instant: positions on a spline, a weighted sum of the four keyframes from `keyframe` - 1,
// unit rotations a `share` of the way from `keyframe` to the next, and how visible they are at `time` between and around
// two centres, which count in any order. Backward writes zeros for keyframes that have no part in it.
typedef struct {
    int64_t count;
    int32_t keyframes, keyframe;        // number K; the last one before the instant, 1 to K - 3
    float weights[4], share;
    float time, least_width;            // least_width is added to exp(log_widths)
    const float *means /*[N,K,3]*/, *quats /*[N,K,4]*/, *centers /*[N,2]*/, *log_widths /*[N,2]*/;
} moegs_keyframes;
int32_t moegs_keyframes_forward(const moegs_keyframes *keyframes, int32_t threads, float *means /*[N,3]*/,
                                float *quats /*[N,4]*/, float *visible /*[N]*/);
int32_t moegs_keyframes_backward(const moegs_keyframes *keyframes, int32_t threads, const float *v_means,
                                 const float *v_quats, const float *v_visible, float *v_mean_keys, float *v_quat_keys,
                                 float *v_centers, float *v_log_widths);

// Raw values of N Gaussians plus changes to them (each may be null), ready to be drawn but for the exponentials: the
// caller makes sizes of the log scales and opacities of the logits, in place, before it asks for gradients. With `rows`
// (ascending; else null) the raw values are of `total` Gaussians and N of them are wanted. Backward gives the gradients of
// quaternions, log scales, logits and coefficients from the gradients `v` of all that is drawn; those of the positions
// are the drawn ones' own. With rows it also gives those among all `total`, the coefficients' only there. With bases = 1
// sh_rest is not read.
typedef struct {
    const float *means /*[total,3]*/, *quats /*[total,4]*/, *scales /*[total,3]*/, *opacities /*[total]*/;
    const float *sh_base /*[total,3]*/, *sh_rest /*[total,bases-1,3]*/;
    const int64_t *rows;  // [N]
    int64_t total;
} moegs_gaussians;
typedef struct {
    const float *means, *quats, *scales, *opacities, *sh /*[N,bases,3]*/;
} moegs_changes;
typedef struct {
    float *means, *quats, *scales, *opacities, *sh /*[N,bases,3]*/;
    float *lengths;  // [N] of the quaternions, at least 1e-12
} moegs_deformed;
typedef struct {
    float *quats, *scales, *opacities;  // [N, ...]
    float *sh_base, *sh_rest;           // [total, ...]
} moegs_raw_gradients;
typedef struct {
    float *means, *quats, *scales, *opacities;  // [total, ...]; not written where rows is null
    const int64_t *rows;
    int64_t total;
} moegs_all_gradients;
int32_t moegs_deformed_forward(int64_t count, int32_t bases, const moegs_gaussians *raw, const moegs_changes *changes,
                               int32_t threads, const moegs_deformed *deformed);
int32_t moegs_deformed_backward(int64_t count, int32_t bases, const moegs_deformed *deformed, const moegs_changes *v,
                                int32_t threads, const moegs_raw_gradients *gradients, const moegs_all_gradients *all);

// Colours f(a + W2 relu(W1 [s, r])) of pixels with features a (3) and s (6), rows of `stride` floats, and rays r [6,N];
// W1 [6,12], W2 [3,6]; f: the logistic function, or clamping to [0,1]. Backward writes the gradients of the features
// [N,9] and of both matrices.
int32_t moegs_decoder_forward(int64_t count, int64_t stride, int32_t sigmoid, const float *features, const float *rays,
                              const float *hidden_weight, const float *color_weight, int32_t threads,
                              float *rgb /*[N,3]*/);
int32_t moegs_decoder_backward(int64_t count, int64_t stride, int32_t sigmoid, const float *features, const float *rays,
                               const float *hidden_weight, const float *color_weight, const float *v_rgb,
                               int32_t threads, float *v_features, float *v_hidden_weight, float *v_color_weight);

// A network with a shared trunk and one head per output: y_h = V_h relu(W_h relu(T x + t) + w_h) + v_h of `count` rows x.
// `inputs` and `width` are multiples of sixteen. Forward writes y_h [N, outputs[h]], and what the rectifiers let through
// where it is wanted. Backward writes the gradients of x and of the parameters, one after the other: T, t, then for each
// head W_h, w_h, V_h, v_h; an output nothing depends on has the gradient null.
typedef struct {
    int64_t count;
    int32_t inputs, width, heads;
    const int32_t *outputs;                  // [heads]
    const float *features;                   // [N, inputs]
    const float *trunk_weight, *trunk_bias;  // T [width, inputs], t [width]
    const float *const *parameters;          // [4 * heads]: W_h [width, width], w_h, V_h [outputs, width], v_h
} moegs_heads;
int32_t moegs_heads_forward(const moegs_heads *network, int32_t threads, float *const *values,
                            float *trunk_hidden /*[N, width] or null*/, float *head_hidden /*[heads, N, width] or null*/);
int32_t moegs_heads_backward(const moegs_heads *network, const float *trunk_hidden, const float *head_hidden,
                             const float *const *v_values, int32_t threads, float *v_features /*or null*/,
                             float *v_parameters);

// Adds to sums [total] the lengths of the gradients v_means2d [N,2] times (half_width, half_height) of the Gaussians that
// are visible [N], and to counts [total] their number. rows [N], ascending, say where they stand; null: in order.
int32_t moegs_add_gradients(int64_t count, const int64_t *rows, int64_t total, const float *v_means2d,
                            const uint8_t *visible, float half_width, float half_height, int32_t threads, float *sums,
                            float *counts);

// Mean distance of the keyframes 1 to reached - 1 of means [N,K,3] from keyframe 0, and its gradient.
int32_t moegs_mean_reach(int64_t count, int32_t keyframes, int32_t reached, const float *means, int32_t threads,
                         float *mean /*[1]*/, float *v_means);

// One step of Adam over several tensors: m += (1 - beta1) (g - m), v = beta2 v + (1 - beta2) g^2 with the gradient g plus
// weight_decay * value; value -= step_size * m / (root_scale * sqrt(v) + eps), with root_scale 0 without the division (the
// first steps of rectified Adam). These two hold what of bias corrections depends on the number of steps, which is counted
// up.
typedef struct {
    int64_t count;
    float *value, *first, *second;  // [count]; updated in place
    float *step;                    // [1]; updated in place
    const float *gradient;          // [count]
    float step_size, root_scale, one_minus_beta1, beta2, one_minus_beta2, eps, weight_decay;
} moegs_adam_tensor;
int32_t moegs_adam_step(int32_t count, const moegs_adam_tensor *tensors, int32_t threads);

#ifdef __cplusplus
}
#endif

#endif
