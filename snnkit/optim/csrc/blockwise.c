/* Optimizers whose states are bytes: one pass over gradient, parameter and states, a block at a time in the first cache.
 *
 * A block is decoded (code -> map value * absmax), updated in float32, and encoded again. Encoding finds the nearest
 * value of the map exactly: the leading bits of |x / absmax| select a bucket that at most one midpoint cuts. Its entry
 * is (code << SHIFT) + (2^SHIFT - 1 - t), t being the last position in the bucket that still belongs to that code, so
 * adding the position carries into the code exactly when x lies beyond the midpoint: one look-up an element. Without
 * AVX2 the plain loops below do the same. The order of operations is that of rules.py, and nothing is contracted. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LARGEST 4096
#define ONE 0x3f800000
#define INFINITE 0x7f800000

typedef int32_t __attribute__((may_alias)) bits;
enum { ADAM, LAMB, MOMENTUM, LION, RMSPROP, ADAGRAD };

typedef struct {
    const float *map;      /* 256 values */
    const int32_t *bucket; /* entries; signed maps have those of negative values behind those of positive ones */
    int32_t lowest, span, zero;
} codebook;

typedef struct {
    float *p;
    const float *g;
    float *out;  /* where the direction goes instead of being applied, or NULL */
    void *state[2];
    float *absmax[2];
    codebook book[2];
    int32_t guard[2]; /* a positive value never takes the code of zero */
    int64_t count, block;
    int32_t rule, full; /* full: states are float32 */
    float scale, beta1, rest1, beta2, rest2, root, eps, decay, rate, weight_decay, correction;
} job;

static void decode(float *restrict x, const uint8_t *restrict code, int64_t n, float absmax, const float *restrict map) {
    for (int64_t i = 0; i < n; i++) x[i] = map[code[i]] * absmax;
}

/* Zero what is not finite, so that one bad gradient does not take its block along; return the largest |x|. */
static float settle(float *restrict x, int64_t n) {
    bits *b = (bits *)x;
    int32_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t size = b[i] & 0x7fffffff, sign = b[i] & (int32_t)0x80000000;
        size = size >= INFINITE ? 0 : size;
        b[i] = size | sign;
        most = size > most ? size : most;
    }
    float absmax;
    memcpy(&absmax, &most, 4);
    return absmax;
}

#define SHIFT_SIGNED 17
#define SHIFT_UNSIGNED 16

/* Codes of |x / divisor| counted from zero, and the sign (0 or -1) of each, for one element. */
static inline int32_t place_of(float y, const codebook *book, const int shift, int32_t *sign) {
    int32_t raw;
    memcpy(&raw, &y, 4);
    *sign = raw >> 31;
    int32_t size = raw & 0x7fffffff;
    size = size < book->lowest ? book->lowest : size;
    size = size > ONE ? ONE : size;
    const int32_t at = (size >> shift) - (book->lowest >> shift) + (*sign & book->span);
    return (book->bucket[at] + (size & ((1 << shift) - 1))) >> shift;
}

#ifdef __AVX2__
#include <immintrin.h>

/* table[at] by eight loads: on many processors a gather takes longer than these. */
static inline __m256i look_up(const int32_t *table, __m256i at) {
    const uint64_t a = (uint64_t)_mm256_extract_epi64(at, 0), b = (uint64_t)_mm256_extract_epi64(at, 1);
    const uint64_t c = (uint64_t)_mm256_extract_epi64(at, 2), d = (uint64_t)_mm256_extract_epi64(at, 3);
    __m128i low = _mm_cvtsi32_si128(table[(uint32_t)a]), high = _mm_cvtsi32_si128(table[(uint32_t)c]);
    low = _mm_insert_epi32(low, table[a >> 32], 1), high = _mm_insert_epi32(high, table[c >> 32], 1);
    low = _mm_insert_epi32(low, table[(uint32_t)b], 2), high = _mm_insert_epi32(high, table[(uint32_t)d], 2);
    low = _mm_insert_epi32(low, table[b >> 32], 3), high = _mm_insert_epi32(high, table[d >> 32], 3);
    return _mm256_set_m128i(high, low);
}

/* The same for eight elements. */
static inline __m256i places_of(__m256 y, const codebook *book, const int shift, __m256i *sign) {
    const __m256i raw = _mm256_castps_si256(y);
    *sign = _mm256_srai_epi32(raw, 31);
    __m256i size = _mm256_and_si256(raw, _mm256_set1_epi32(0x7fffffff));
    size = _mm256_max_epi32(size, _mm256_set1_epi32(book->lowest));
    size = _mm256_min_epi32(size, _mm256_set1_epi32(ONE));
    __m256i at = _mm256_srli_epi32(size, shift);
    if (shift == SHIFT_SIGNED) at = _mm256_add_epi32(at, _mm256_and_si256(*sign, _mm256_set1_epi32(book->span)));
    at = _mm256_sub_epi32(at, _mm256_set1_epi32(book->lowest >> shift));
    const __m256i entry = look_up(book->bucket, at);
    const __m256i low = _mm256_and_si256(size, _mm256_set1_epi32((1 << shift) - 1));
    return _mm256_srli_epi32(_mm256_add_epi32(entry, low), shift);
}

static inline __m256i bytes_of(const __m256i code[4]) {
    const __m256i low = _mm256_packus_epi32(code[0], code[1]), high = _mm256_packus_epi32(code[2], code[3]);
    const __m256i mixed = _mm256_packus_epi16(low, high);
    return _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
#endif

/* ``shift`` is known where this is inlined: 17 for the signed map, 16 for the unsigned one. */
static inline __attribute__((always_inline)) void encode_with(uint8_t *restrict code, const float *restrict x, int64_t n,
                                                              float divisor, const codebook *book, int guard,
                                                              const int shift) {
    const int32_t zero = book->zero;
    int64_t i = 0;
#ifdef __AVX2__
    const __m256 by = _mm256_set1_ps(divisor);
    const __m256i nothing = _mm256_set1_epi32(zero), least = _mm256_set1_epi32(guard ? zero + 1 : 0);
    for (; i + 32 <= n; i += 32) {
        __m256i four[4];
        for (int q = 0; q < 4; q++) {
            const __m256 value = _mm256_loadu_ps(x + i + 8 * q);
            __m256i sign, place = places_of(_mm256_div_ps(value, by), book, shift, &sign);
            if (shift == SHIFT_SIGNED) place = _mm256_sub_epi32(_mm256_xor_si256(place, sign), sign);
            const __m256i positive = _mm256_cmpgt_epi32(_mm256_castps_si256(value), _mm256_setzero_si256());
            place = _mm256_add_epi32(place, nothing);
            four[q] = _mm256_max_epi32(place, _mm256_and_si256(positive, least));
        }
        _mm256_storeu_si256((__m256i *)(code + i), bytes_of(four));
    }
#endif
    for (; i < n; i++) {
        int32_t sign, place = place_of(x[i] / divisor, book, shift, &sign);
        place = zero + ((place ^ sign) - sign);
        code[i] = (uint8_t)(guard && x[i] > 0 && place < zero + 1 ? zero + 1 : place);
    }
}

/* Codes of settled numbers. */
static void encode(uint8_t *code, float absmax, const float *x, int64_t n, const codebook *book, int guard) {
    const float divisor = absmax > 0 ? absmax : 1.0f;
    if (book->span)
        encode_with(code, x, n, divisor, book, guard, SHIFT_SIGNED);
    else
        encode_with(code, x, n, divisor, book, guard, SHIFT_UNSIGNED);
}

static void adam(const job *j, float *restrict p, const float *restrict g, float *restrict m, float *restrict v,
                 int64_t n) {
    const float scale = j->scale, beta1 = j->beta1, rest1 = j->rest1, beta2 = j->beta2, rest2 = j->rest2;
    const float root = j->root, eps = j->eps, decay = j->decay, rate = j->rate;
    for (int64_t i = 0; i < n; i++) {
        const float gi = g[i] * scale;
        m[i] = m[i] * beta1 + gi * rest1;
        v[i] = v[i] * beta2 + gi * gi * rest2;
        p[i] = p[i] * decay - m[i] / (sqrtf(v[i]) * root + eps) * rate;
    }
}

#ifdef __AVX2__
static inline __m256 decode_eight(const uint8_t *code, const float *map) {
    __m128 low = _mm_load_ss(map + code[0]), high = _mm_load_ss(map + code[4]);
    low = _mm_insert_ps(low, _mm_load_ss(map + code[1]), 0x10);
    high = _mm_insert_ps(high, _mm_load_ss(map + code[5]), 0x10);
    low = _mm_insert_ps(low, _mm_load_ss(map + code[2]), 0x20);
    high = _mm_insert_ps(high, _mm_load_ss(map + code[6]), 0x20);
    low = _mm_insert_ps(low, _mm_load_ss(map + code[3]), 0x30);
    high = _mm_insert_ps(high, _mm_load_ss(map + code[7]), 0x30);
    return _mm256_set_m128(high, low);
}

/* ``settle`` for eight numbers; ``most`` holds the largest sizes so far. */
static inline __m256 settle_eight(__m256 x, __m256i *most) {
    const __m256i raw = _mm256_castps_si256(x), size = _mm256_and_si256(raw, _mm256_set1_epi32(0x7fffffff));
    const __m256i bad = _mm256_cmpgt_epi32(size, _mm256_set1_epi32(INFINITE - 1));
    *most = _mm256_max_epi32(*most, _mm256_andnot_si256(bad, size));
    return _mm256_castsi256_ps(_mm256_andnot_si256(bad, raw));
}

static inline float largest_of(__m256i most) {
    int32_t sizes[8], found = 0;
    _mm256_storeu_si256((__m256i *)sizes, most);
    for (int q = 0; q < 8; q++) found = sizes[q] > found ? sizes[q] : found;
    float size;
    memcpy(&size, &found, 4);
    return size;
}

/* Decoding, ADAM and settling in one loop, so that look-ups run beside divisions. ``n`` is a multiple of eight; the old
 * absmax of both moments are replaced by the new ones. */
static void adam_coded(const job *j, int64_t from, int64_t n, float *restrict m, float *restrict v, float absmax[2]) {
    float *restrict p = j->p + from;
    const float *restrict g = j->g + from, *map_m = j->book[0].map, *map_v = j->book[1].map;
    const uint8_t *code_m = (const uint8_t *)j->state[0] + from, *code_v = (const uint8_t *)j->state[1] + from;
    const __m256 beta1 = _mm256_set1_ps(j->beta1), rest1 = _mm256_set1_ps(j->rest1), eps = _mm256_set1_ps(j->eps);
    const __m256 beta2 = _mm256_set1_ps(j->beta2), rest2 = _mm256_set1_ps(j->rest2), root = _mm256_set1_ps(j->root);
    const __m256 decay = _mm256_set1_ps(j->decay), rate = _mm256_set1_ps(j->rate), scale = _mm256_set1_ps(j->scale);
    const __m256 by_m = _mm256_set1_ps(absmax[0]), by_v = _mm256_set1_ps(absmax[1]);
    __m256i most_m = _mm256_setzero_si256(), most_v = _mm256_setzero_si256();
    for (int64_t i = 0; i < n; i += 8) {
        const __m256 gi = _mm256_loadu_ps(g + i) * scale;
        const __m256 mi = decode_eight(code_m + i, map_m) * by_m * beta1 + gi * rest1;
        const __m256 vi = decode_eight(code_v + i, map_v) * by_v * beta2 + gi * gi * rest2;
        const __m256 move = mi / (_mm256_sqrt_ps(vi) * root + eps) * rate;
        _mm256_storeu_ps(p + i, _mm256_loadu_ps(p + i) * decay - move);
        _mm256_storeu_ps(m + i, settle_eight(mi, &most_m));
        _mm256_storeu_ps(v + i, settle_eight(vi, &most_v));
    }
    absmax[0] = largest_of(most_m), absmax[1] = largest_of(most_v);
}
#endif

static void lamb(const job *j, float *restrict out, const float *restrict p, const float *restrict g,
                 float *restrict m, float *restrict v, int64_t n) {
    const float scale = j->scale, beta1 = j->beta1, rest1 = j->rest1, beta2 = j->beta2, rest2 = j->rest2;
    const float root = j->root, eps = j->eps, weight_decay = j->weight_decay, correction = j->correction;
    for (int64_t i = 0; i < n; i++) {
        const float gi = g[i] * scale;
        m[i] = m[i] * beta1 + gi * rest1;
        v[i] = v[i] * beta2 + gi * gi * rest2;
        out[i] = m[i] * correction / (sqrtf(v[i]) * root + eps) + p[i] * weight_decay;
    }
}

static void momentum(const job *j, float *restrict p, const float *restrict g, float *restrict out, float *restrict m,
                     int64_t n) {
    const float scale = j->scale, beta1 = j->beta1, rate = j->rate, weight_decay = j->weight_decay;
    for (int64_t i = 0; i < n; i++) m[i] = m[i] * beta1 + (g[i] * scale + p[i] * weight_decay);
    if (out)
        memcpy(out, m, (size_t)n * sizeof *m);
    else
        for (int64_t i = 0; i < n; i++) p[i] = p[i] - m[i] * rate;
}

static void lion(const job *j, float *restrict p, const float *restrict g, float *restrict m, int64_t n) {
    const float scale = j->scale, beta1 = j->beta1, rest1 = j->rest1, beta2 = j->beta2, rest2 = j->rest2;
    const float decay = j->decay, rate = j->rate;
    for (int64_t i = 0; i < n; i++) {
        const float gi = g[i] * scale, u = m[i] * beta1 + gi * rest1;
        const float sign = (float)(u > 0) - (float)(u < 0);
        p[i] = p[i] * decay - sign * rate;
        m[i] = m[i] * beta2 + gi * rest2;
    }
}

/* RMSprop; with beta2 = 1 and rest2 = 1 it is Adagrad. */
static void rmsprop(const job *j, float *restrict p, const float *restrict g, float *restrict v, int64_t n) {
    const float scale = j->scale, beta2 = j->beta2, rest2 = j->rest2, eps = j->eps, rate = j->rate;
    const float weight_decay = j->weight_decay;
    for (int64_t i = 0; i < n; i++) {
        const float gi = g[i] * scale + p[i] * weight_decay;
        v[i] = v[i] * beta2 + gi * gi * rest2;
        p[i] = p[i] - gi / (sqrtf(v[i]) + eps) * rate;
    }
}

static void update(const job *j, int64_t from, int64_t n, float *a, float *b) {
    float *p = j->p + from, *out = j->out ? j->out + from : 0;
    const float *g = j->g + from;
    switch (j->rule) {
    case ADAM: adam(j, p, g, a, b, n); break;
    case LAMB: lamb(j, out, p, g, a, b, n); break;
    case MOMENTUM: momentum(j, p, g, out, a, n); break;
    case LION: lion(j, p, g, a, n); break;
    default: rmsprop(j, p, g, a, n);
    }
}

/* Decode, update and settle a block whose moments are coded; leaves them in a and b, their absmax in ``absmax``. */
static void update_coded(const job *j, int64_t from, int64_t n, float *a, float *b, float absmax[2]) {
    float *moments[2] = {a, b};
#ifdef __AVX2__
    if (j->rule == ADAM && n % 8 == 0) {
        adam_coded(j, from, n, a, b, absmax);
        return;
    }
#endif
    for (int s = 0; s < 2; s++)
        if (j->state[s]) decode(moments[s], (const uint8_t *)j->state[s] + from, n, absmax[s], j->book[s].map);
    update(j, from, n, a, b);
    for (int s = 0; s < 2; s++)
        if (j->state[s]) absmax[s] = settle(moments[s], n);
}

void snnkit_blockwise(const job *j, int64_t first, int64_t last) {
    /* Not a power of two apart, or both would fall on the same lines of the cache. */
    float buffer[2][LARGEST + 48] __attribute__((aligned(64)));
    for (int64_t k = first; k < last; k++) {
        const int64_t from = k * j->block, n = j->count - from < j->block ? j->count - from : j->block;
        if (j->full) {
            float *a = j->state[0], *b = j->state[1];
            update(j, from, n, a + from, b ? b + from : 0);
            continue;
        }
        float absmax[2] = {j->absmax[0][k], j->state[1] ? j->absmax[1][k] : 0};
        update_coded(j, from, n, buffer[0], buffer[1], absmax);
        for (int s = 0; s < 2; s++)
            if (j->state[s]) {
                encode((uint8_t *)j->state[s] + from, absmax[s], buffer[s], n, &j->book[s], j->guard[s]);
                j->absmax[s][k] = absmax[s];
            }
    }
}
