/* Rows of a sequence as they lie in memory: float32, float64, or the half formats widened to float32 on the way.
 *
 * Where a result is larger than the caches it goes past them (streaming stores), so that no line is read only to be
 * overwritten. */
#pragma once
#include <stdint.h>
#include <string.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

#if defined __AVX512F__
#define VECTOR_BYTES 64
#elif defined __AVX__
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

enum { F32, F64, BF16, F16 };

/* Store a vector past the caches; ``to`` is aligned to its size. */
static inline void stream_vector(void *to, const void *vector) {
#if defined __AVX512F__
    _mm512_stream_si512(to, _mm512_loadu_si512(vector));
#elif defined __AVX__
    _mm256_stream_si256(to, _mm256_loadu_si256(vector));
#else
    memcpy(to, vector, VECTOR_BYTES);
#endif
}

/* Whether a row may be written past the caches: whole lines only, or each would be fetched to be completed. */
static inline int whole_lines(const void *row) { return ((uintptr_t)row & 63) == 0; }

/* Ask for a row that will be read next: hardware follows a stream only to the end of its page. */
static inline void expect(const void *row, int64_t bytes) {
    const char *at = (const char *)row;
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i);
}

static inline void finish_streaming(void) {
#ifdef __AVX__
    _mm_sfence();
#endif
}

static inline void widen(float *restrict to, const uint16_t *restrict from, int64_t n, int dtype) {
    if (dtype == BF16) {
        for (int64_t i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)from[i] << 16;
            memcpy(to + i, &bits, 4);
        }
        return;
    }
#ifdef __F16C__
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i))));
    for (; i < n; i++) to[i] = _cvtsh_ss(from[i]);
#endif
}

static inline void narrow(uint16_t *restrict to, const float *restrict from, int64_t n, int dtype) {
    if (dtype == BF16) {
        for (int64_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, from + i, 4);
            uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
            to[i] = from[i] != from[i] ? (uint16_t)0x7fc0 : (uint16_t)rounded;
        }
        return;
    }
#ifdef __F16C__
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) _mm_storeu_si128((__m128i *)(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), 0));
    for (; i < n; i++) to[i] = _cvtss_sh(from[i], 0);
#endif
}

/* Whether float16 can be converted here. */
int snnkit_has_float16(void) {
#ifdef __F16C__
    return 1;
#else
    return 0;
#endif
}
