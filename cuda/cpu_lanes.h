// Sixteen pixels at a time: a 4x4 block of the image as `Floats`, stored in as many machine vectors as the target needs.
//
// Only GCC/Clang vector extensions are used, so the same source serves SSE2, AVX2, AVX-512 and NEON. `Floats` is split
// by hand into native vectors, because compilers lower vectors wider than the machine's poorly.
#pragma once

#include <cstdint>
#include <cstring>

#define MOEGS_INLINE inline __attribute__((always_inline))

namespace moegs {

constexpr int kLanes = 16;
#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
constexpr int kParts = kLanes / kWidth;

typedef float NativeFloats __attribute__((vector_size(kWidth * 4)));
typedef int32_t NativeInts __attribute__((vector_size(kWidth * 4)));
typedef uint32_t NativeWords __attribute__((vector_size(kWidth * 4)));

template <class Native>
struct Lanes {
    Native part[kParts];
};
using Floats = Lanes<NativeFloats>;
using Ints = Lanes<NativeInts>;  // also the type of masks: 0 or -1 per lane

template <class To, class From>
MOEGS_INLINE To bits_as(const From &from) {
    static_assert(sizeof(To) == sizeof(From), "bits_as needs types of equal size");
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

MOEGS_INLINE Floats splat(float x) {
    Floats r;
    for (int i = 0; i < kParts; ++i) r.part[i] = x - NativeFloats{};  // x - 0 == x folds to a broadcast
    return r;
}
MOEGS_INLINE Ints splat(int32_t x) {
    Ints r;
    for (int i = 0; i < kParts; ++i) r.part[i] = x - NativeInts{};
    return r;
}
template <class V>
MOEGS_INLINE V load(const void *from) {  // from: 64-byte aligned
    V r;
    std::memcpy(&r, __builtin_assume_aligned(from, 64), sizeof(V));
    return r;
}
template <class V>
MOEGS_INLINE void store(void *to, const V &v) {  // to: 64-byte aligned
    std::memcpy(__builtin_assume_aligned(to, 64), &v, sizeof(V));
}

#define MOEGS_LANEWISE(TYPE, RESULT, OP)                                             \
    MOEGS_INLINE RESULT operator OP(const TYPE &a, const TYPE &b) {                  \
        RESULT r;                                                                    \
        for (int i = 0; i < kParts; ++i) r.part[i] = a.part[i] OP b.part[i];         \
        return r;                                                                    \
    }
MOEGS_LANEWISE(Floats, Floats, +)
MOEGS_LANEWISE(Floats, Floats, -)
MOEGS_LANEWISE(Floats, Floats, *)
MOEGS_LANEWISE(Floats, Floats, /)
MOEGS_LANEWISE(Floats, Ints, <=)
MOEGS_LANEWISE(Floats, Ints, >=)
MOEGS_LANEWISE(Floats, Ints, >)
MOEGS_LANEWISE(Ints, Ints, <=)
MOEGS_LANEWISE(Ints, Ints, >)
MOEGS_LANEWISE(Ints, Ints, &)
MOEGS_LANEWISE(Ints, Ints, |)
MOEGS_LANEWISE(Ints, Ints, +)
#undef MOEGS_LANEWISE

MOEGS_INLINE Floats operator*(float a, const Floats &b) { return splat(a) * b; }
MOEGS_INLINE Floats operator-(float a, const Floats &b) { return splat(a) - b; }

template <class V>
MOEGS_INLINE V select(const Ints &mask, const V &yes, const V &no) {
    V r;
    for (int i = 0; i < kParts; ++i) r.part[i] = mask.part[i] ? yes.part[i] : no.part[i];
    return r;
}
MOEGS_INLINE Floats keep_if(const Ints &mask, const Floats &a) { return select(mask, a, Floats{}); }
MOEGS_INLINE Floats minimum(const Floats &a, const Floats &b) {
    Floats r;
    for (int i = 0; i < kParts; ++i) r.part[i] = a.part[i] < b.part[i] ? a.part[i] : b.part[i];
    return r;
}
MOEGS_INLINE Floats maximum(const Floats &a, const Floats &b) {
    Floats r;
    for (int i = 0; i < kParts; ++i) r.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
    return r;
}
MOEGS_INLINE Floats clamp(const Floats &a, const Floats &low, const Floats &high) {
    return minimum(maximum(a, low), high);
}
MOEGS_INLINE Floats absolute(const Floats &a) {
    return bits_as<Floats>(bits_as<Ints>(a) & splat(int32_t(0x7fffffff)));
}
MOEGS_INLINE Floats negative_absolute(const Floats &a) {
    return bits_as<Floats>(bits_as<Ints>(a) | splat(int32_t(0x80000000u)));
}

// Any lane of a mask set? The vector is folded as 64-bit words; there is no portable movemask.
MOEGS_INLINE bool any(const Ints &mask) {
    uint64_t words[8], folded = 0;
    std::memcpy(words, &mask, sizeof(words));
    for (uint64_t word : words) folded |= word;
    return folded != 0;
}
// Bit l set where lane l of the mask is set.
MOEGS_INLINE uint32_t movemask(const Ints &mask, const Ints &lane_bits) {
    const Ints chosen = mask & lane_bits;
    uint64_t words[8], folded = 0;
    std::memcpy(words, &chosen, sizeof(words));
    for (uint64_t word : words) folded |= word;
    return uint32_t(folded) | uint32_t(folded >> 32);
}

// min(x, cap) of a number that must be non-negative: values below zero and NaN become `cap` too. Non-negative floats order like
// their bit patterns, and a set sign bit or NaN makes an unsigned pattern larger than any finite cap.
MOEGS_INLINE Floats cap_nonnegative(const Floats &x, float cap) {
    const uint32_t limit = bits_as<uint32_t>(cap);
    Floats r;
    for (int i = 0; i < kParts; ++i) {
        const NativeWords w = (NativeWords)x.part[i], l = limit - NativeWords{};
        r.part[i] = (NativeFloats)(w < l ? w : l);
    }
    return r;
}

// 2^-s for s in [0, 120], exactly 1 at 0: nearest integer by the large-number trick, a minimax polynomial of 2^-f on
// [-1/2, 1/2] with constant term 1 (relative error 9e-8, as much as rounding adds), the exponent added to the bits.
MOEGS_INLINE Floats exp2_of_minus(const Floats &s) {
    const float shifter = 12582912.0f;  // 1.5 * 2^23: its low mantissa bits count units
    const Floats shifted = shifter - s;
    const Floats f = s + (shifted - splat(shifter));
    Floats p = splat(-1.326472689e-3f);
    p = p * f + splat(9.671512910e-3f);
    p = p * f + splat(-5.550733747e-2f);
    p = p * f + splat(2.402224208e-1f);
    p = p * f + splat(-6.931469776e-1f);
    p = p * f + splat(1.0f);
    Floats r;
    for (int i = 0; i < kParts; ++i)
        r.part[i] = (NativeFloats)((NativeInts)p.part[i] + ((NativeInts)shifted.part[i] << 23));
    return r;
}

#if defined(__clang__) || __GNUC__ >= 12
#define MOEGS_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MOEGS_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, NativeInts{__VA_ARGS__})
#endif

// One step of a transposing sum: halves both vectors by adding lanes and puts the results side by side.
template <int Distance>
MOEGS_INLINE NativeFloats add_halves(NativeFloats a, NativeFloats b);
#if defined(__AVX512F__)
template <>
MOEGS_INLINE NativeFloats add_halves<8>(NativeFloats a, NativeFloats b) {
    return MOEGS_SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           MOEGS_SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
template <>
MOEGS_INLINE NativeFloats add_halves<4>(NativeFloats a, NativeFloats b) {
    return MOEGS_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           MOEGS_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}
template <>
MOEGS_INLINE NativeFloats add_halves<2>(NativeFloats a, NativeFloats b) {
    return MOEGS_SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           MOEGS_SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
template <>
MOEGS_INLINE NativeFloats add_halves<1>(NativeFloats a, NativeFloats b) {
    return MOEGS_SHUFFLE(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) +
           MOEGS_SHUFFLE(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
}
#elif defined(__AVX2__)
template <>
MOEGS_INLINE NativeFloats add_halves<4>(NativeFloats a, NativeFloats b) {
    return MOEGS_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + MOEGS_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}
template <>
MOEGS_INLINE NativeFloats add_halves<2>(NativeFloats a, NativeFloats b) {
    return MOEGS_SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + MOEGS_SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
}
template <>
MOEGS_INLINE NativeFloats add_halves<1>(NativeFloats a, NativeFloats b) {
    return MOEGS_SHUFFLE(a, b, 0, 2, 8, 10, 4, 6, 12, 14) + MOEGS_SHUFFLE(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
}
#else
template <>
MOEGS_INLINE NativeFloats add_halves<2>(NativeFloats a, NativeFloats b) {
    return MOEGS_SHUFFLE(a, b, 0, 1, 4, 5) + MOEGS_SHUFFLE(a, b, 2, 3, 6, 7);
}
template <>
MOEGS_INLINE NativeFloats add_halves<1>(NativeFloats a, NativeFloats b) {
    return MOEGS_SHUFFLE(a, b, 0, 2, 4, 6) + MOEGS_SHUFFLE(a, b, 1, 3, 5, 7);
}
#endif

// Sums of up to kWidth vectors, one per lane of the result (in the order of `lane_of_sum`).
template <int Count, int Distance>
MOEGS_INLINE NativeFloats sum_tree(const NativeFloats *v) {
    if constexpr (Distance == 1) {
        return add_halves<1>(v[0], Count > 1 ? v[1] : NativeFloats{});
    } else {
        constexpr int kNext = (Count + 1) / 2;
        NativeFloats merged[kNext];
        for (int i = 0; i < kNext; ++i)
            merged[i] = add_halves<Distance>(v[2 * i], 2 * i + 1 < Count ? v[2 * i + 1] : NativeFloats{});
        return sum_tree<kNext, Distance / 2>(merged);
    }
}

// Where sum k of `sum_lanes` stands among its 16 outputs.
constexpr int lane_of_sum(int k) {
    const int within = k % kWidth, group = k - within;
    if (kWidth == 16) return group + 4 * (within % 4) + within / 4;
    if (kWidth == 8) return group + 4 * (within % 2) + within / 2;
    return group + within;
}

// out[lane_of_sum(k)] = sum over the 16 lanes of v[k], for Count <= 16 vectors; other entries of out[16] become zero.
template <int Count>
MOEGS_INLINE void sum_lanes(const Floats *v, float *out) {
    static_assert(Count >= 1 && Count <= kLanes, "one output vector holds sixteen sums");
    Floats sums{};
    constexpr int kGroups = (Count + kWidth - 1) / kWidth;
    for (int group = 0; group < kGroups; ++group) {
        NativeFloats folded[kWidth];
        for (int k = 0; k < kWidth; ++k) {
            folded[k] = NativeFloats{};
            if (group * kWidth + k < Count) {
                folded[k] = v[group * kWidth + k].part[0];
                for (int part = 1; part < kParts; ++part) folded[k] += v[group * kWidth + k].part[part];
            }
        }
        constexpr int kFirst = Count < kWidth ? Count : kWidth;
        sums.part[group] = sum_tree<kFirst, kWidth / 2>(folded);
    }
    store(out, sums);
}

// The sum of a vector's lanes, by halves.
template <int Lanes>
MOEGS_INLINE float sum_of_lanes(const float *lanes) {
    typedef float Half __attribute__((vector_size(Lanes * 2)));
    Half low, high;
    std::memcpy(&low, lanes, sizeof(Half));
    std::memcpy(&high, lanes + Lanes / 2, sizeof(Half));
    low += high;
    float halves[Lanes / 2];
    std::memcpy(halves, &low, sizeof(Half));
    return sum_of_lanes<Lanes / 2>(halves);
}
template <>
MOEGS_INLINE float sum_of_lanes<2>(const float *lanes) {
    return lanes[0] + lanes[1];
}

}  // namespace moegs
