// Inference of a window transformer's block in float32, between its matrix products: cosine attention within windows,
// exact GELU, and layer norm with the residual added. Each passes over memory once; nothing but libc is needed.
#pragma GCC optimize("fp-contract=fast")  // sums of products may be fused here: no spikes depend on them
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX2__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define LANES (BYTES / 4)
#define ROWS 4      // queries at a time
#define WIDE 2      // vectors of keys or channels at a time
#define MOST_KEYS 1024
#define MOST_CHANNELS 128

typedef float f32 __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef int32_t s32 __attribute__((vector_size(BYTES), aligned(4), may_alias));

static inline __attribute__((always_inline)) f32 all(float x) { return x - (f32){0}; }

// exp for x ≤ 0, relative error below 2e-7; 2^-126 stands for everything smaller.
static inline __attribute__((always_inline)) f32 exp_negative(f32 x) {
    const f32 least = all(-87.3f);
    s32 small = x < least;
    x = (f32)(((s32)x & ~small) | ((s32)least & small));
    f32 shifted = x * 1.44269504f + 12582912.0f;  // 1.5 · 2^23: rounds to a whole number
    f32 n = shifted - 12582912.0f;
    f32 r = x - n * 0.693359375f + n * 2.12194440e-4f;
    f32 y = all(1.9875691500e-4f);
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    s32 power = (__builtin_convertvector(n, s32) + 127) << 23;
    return y * (f32)power;
}

static inline float sum_of(f32 v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

// out[ROWS][WIDE vectors] = Σ over n of left[row][n] · right[n][…]
static inline __attribute__((always_inline)) void product(const float *left, int64_t left_step, const float *right,
                                                          int64_t right_step, int64_t n, float *out, int64_t out_step) {
    f32 sums[ROWS][WIDE] = {0};
    for (int64_t i = 0; i < n; i++)
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < WIDE; v++)
                sums[r][v] += left[r * left_step + i] * *(const f32 *)(right + i * right_step + v * LANES);
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < WIDE; v++) *(f32 *)(out + r * out_step + v * LANES) = sums[r][v];
}

static float length_factor(const float *x, int64_t channels) {
    f32 squares = {0};
    for (int64_t c = 0; c < channels; c += LANES) squares += *(const f32 *)(x + c) * *(const f32 *)(x + c);
    float length = sqrtf(sum_of(squares));
    return 1.0f / (length > 1e-12f ? length : 1e-12f);
}

typedef struct {
    const float *qkv;     // (images · windows, keys, 3, heads, channels)
    const float *scale;   // (heads)
    const float *bias;    // (kinds, heads, keys, keys)
    const int64_t *kind;  // (windows)
    float *out;           // (images · windows, keys, heads, channels)
    int64_t windows, keys, heads, channels;
} Attention;

static void attend(const Attention *a, int64_t window, int64_t head) {
    const int64_t keys = a->keys, channels = a->channels, row = 3 * a->heads * channels;
    const int64_t padded = (keys + WIDE * LANES - 1) / (WIDE * LANES) * (WIDE * LANES);
    const float *q = a->qkv + window * keys * row + head * channels, *k = q + a->heads * channels;
    const float *v = k + a->heads * channels;
    const float *bias = a->bias + (a->kind[window % a->windows] * a->heads + head) * keys * keys;
    float turned[channels * padded] __attribute__((aligned(64)));  // keys of length 1, (channels, padded)
    float scores[ROWS * padded] __attribute__((aligned(64)));
    float queries[ROWS * channels];
    for (int64_t s = 0; s < keys; s++) {
        float factor = length_factor(k + s * row, channels);
        for (int64_t c = 0; c < channels; c++) turned[c * padded + s] = k[s * row + c] * factor;
    }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t s = keys; s < padded; s++) turned[c * padded + s] = 0;
    for (int64_t first = 0; first < keys; first += ROWS) {
        for (int r = 0; r < ROWS; r++) {
            const float *from = q + (first + r) * row;
            float factor = length_factor(from, channels) * a->scale[head];
            for (int64_t c = 0; c < channels; c++) queries[r * channels + c] = from[c] * factor;
        }
        for (int64_t s = 0; s < padded; s += WIDE * LANES)
            product(queries, channels, turned + s, padded, channels, scores + s, padded);
        float inverse[ROWS];
        for (int r = 0; r < ROWS; r++) {
            float *score = scores + r * padded;
            const float *add = bias + (first + r) * keys;
            f32 highs = all(-INFINITY);
            int64_t whole = keys / LANES * LANES;
            for (int64_t s = 0; s < whole; s += LANES) {
                f32 sum = *(f32 *)(score + s) + *(const f32 *)(add + s);
                *(f32 *)(score + s) = sum;
                s32 higher = sum > highs;
                highs = (f32)(((s32)sum & higher) | ((s32)highs & ~higher));
            }
            float highest = highs[0];
            for (int i = 1; i < LANES; i++) highest = highs[i] > highest ? highs[i] : highest;
            for (int64_t s = whole; s < keys; s++) {
                score[s] += add[s];
                highest = score[s] > highest ? score[s] : highest;
            }
            for (int64_t s = keys; s < padded; s++) score[s] = -INFINITY;
            f32 total = {0};
            for (int64_t s = 0; s < padded; s += LANES) {
                f32 e = exp_negative(*(f32 *)(score + s) - highest);
                *(f32 *)(score + s) = e;
                for (int i = 0; s + LANES > keys && i < LANES; i++)
                    if (s + i >= keys) e[i] = 0;
                total += e;
            }
            inverse[r] = 1.0f / sum_of(total);
        }
        float *out = a->out + ((window * keys + first) * a->heads + head) * channels;
        for (int64_t c = 0; c < channels; c += WIDE * LANES)
            product(scores, padded, v + c, row, keys, out + c, a->heads * channels);
        for (int r = 0; r < ROWS; r++)
            for (int64_t c = 0; c < channels; c++) out[r * a->heads * channels + c] *= inverse[r];
    }
}

// Returns 1 where it cannot serve these sizes. Tasks are (window, head) pairs, numbered window · heads + head.
int snnkit_window_attention(const float *qkv, const float *scale, const float *bias, const int64_t *kind, float *out,
                            int64_t windows, int64_t keys, int64_t heads, int64_t channels, int64_t first, int64_t end) {
    if (keys % ROWS || keys > MOST_KEYS || channels % (WIDE * LANES) || channels > MOST_CHANNELS) return 1;
    Attention a = {qkv, scale, bias, kind, out, windows, keys, heads, channels};
    for (int64_t task = first; task < end; task++) attend(&a, task / heads, task % heads);
    return 0;
}

// x · Φ(x) in place, by erfc(z) = t·P(t)·exp(−z²) of Abramowitz and Stegun 7.1.26: absolute error below 3e-7·|x|.
void snnkit_gelu(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) {
        float spare[LANES] = {0};
        float *at = n - i < LANES ? memcpy(spare, x + i, (n - i) * 4) : x + i;
        f32 v = *(f32 *)at;
        f32 positive = (f32)((s32)v & 0x7fffffff);
        f32 z = positive * 0.70710678f;
        f32 t = 1.0f / (1.0f + 0.3275911f * z);
        f32 p = all(1.061405429f);
        p = p * t - 1.453152027f;
        p = p * t + 1.421413741f;
        p = p * t - 0.284496736f;
        p = p * t + 0.254829592f;
        f32 tail = 0.5f * positive * p * t * exp_negative(-z * z);  // |x| · Φ(−|x|)
        s32 negative = v < 0.0f;
        *(f32 *)at = (f32)(((s32)(v - tail) & ~negative) | ((s32)(-tail) & negative));
        if (at == spare) memcpy(x + i, spare, (n - i) * 4);
    }
}

// out = x + layer norm of y, rows of `channels`, a multiple of the vector's width.
int snnkit_add_norm(const float *x, const float *y, const float *weight, const float *bias, float eps, float *out,
                    int64_t channels, int64_t first, int64_t end) {
    if (channels % LANES) return 1;
    for (int64_t r = first; r < end; r++) {
        const float *from = y + r * channels, *add = x + r * channels;
        float *to = out + r * channels;
        f32 total = {0}, squares = {0};
        for (int64_t c = 0; c < channels; c += LANES) total += *(const f32 *)(from + c);
        float mean = sum_of(total) / channels;
        for (int64_t c = 0; c < channels; c += LANES) {
            f32 d = *(const f32 *)(from + c) - mean;
            squares += d * d;
        }
        float factor = 1.0f / sqrtf(sum_of(squares) / channels + eps);
        for (int64_t c = 0; c < channels; c += LANES)
            *(f32 *)(to + c) = *(const f32 *)(add + c) + *(const f32 *)(bias + c) +
                               (*(const f32 *)(from + c) - mean) * factor * *(const f32 *)(weight + c);
    }
    return 0;
}
