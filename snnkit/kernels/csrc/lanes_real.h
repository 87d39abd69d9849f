/* Vectors of one type of numbers (REAL), as wide as the processor's registers, and the surrogates on them.
 *
 * Loops run over whole cache lines (LINE numbers), LANES numbers at a time, in vector extensions of gcc and clang. */
#define INLINE static inline __attribute__((always_inline))
#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))
#define LINE ((int)(64 / sizeof(REAL)))
#define V NAME(Vector)
#define M NAME(Mask)

typedef REAL V __attribute__((vector_size(VECTOR_BYTES)));
typedef INTEGER M __attribute__((vector_size(VECTOR_BYTES))); /* of a comparison: all bits set, or none */
typedef REAL NAME(Anywhere) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));

INLINE V NAME(load)(const REAL *from) { return *(const NAME(Anywhere) *)from; }
INLINE void NAME(store)(REAL *to, V v) { *(NAME(Anywhere) *)to = v; }
INLINE V NAME(all)(REAL number) { return number - (V){0}; }

/* Past the caches if ``stream``, which needs an aligned address. */
INLINE void NAME(put)(REAL *to, V v, int stream) {
    if (stream) stream_vector(to, &v);
    else NAME(store)(to, v);
}

INLINE V NAME(only)(M where, V v) { return (V)(where & (M)v); }
INLINE V NAME(either)(M where, V yes, V no) { return (V)((where & (M)yes) | (~where & (M)no)); }
INLINE V NAME(size_of)(V v) { return (V)((M)v & ~(M)NAME(all)((REAL)-0.0)); }

/* 1/v to 11 bits or better, for codes that are coarser anyway. */
INLINE V NAME(roughly_one_over)(V v) {
#if HALVES && defined __AVX512F__
    return (V)_mm512_rcp14_ps((__m512)v);
#elif HALVES && defined __AVX__
    return (V)_mm256_rcp_ps((__m256)v);
#else
    return 1 / v;
#endif
}

/* Bytes as lanes. */
INLINE M NAME(widened)(const uint8_t *from) {
#if HALVES && defined __AVX512F__
    return (M)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from));
#elif HALVES && defined __AVX2__
    return (M)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
#else
    M wide;
    for (int k = 0; k < LANES; k++) wide[k] = from[k];
    return wide;
#endif
}

/* The lowest byte of every lane of a line; lanes are −128 … 127. */
INLINE void NAME(narrowed)(uint8_t *to, const M *line) {
#if HALVES && defined __AVX512F__
    _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8((__m512i)line[0]));
#elif HALVES && defined __AVX2__
    __m256i pairs = _mm256_packs_epi32((__m256i)line[0], (__m256i)line[1]);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    _mm_storeu_si128((__m128i *)to, _mm_shuffle_epi32(bytes, 0xd8));
#else
    for (int k = 0; k < LINE; k++) to[k] = (uint8_t)line[k / LANES][k % LANES];
#endif
}

INLINE V NAME(looked_up)(const float *table, M at) {
#if HALVES && defined __AVX512F__
    return (V)_mm512_i32gather_ps((__m512i)at, table, 4);
#elif HALVES && defined __AVX2__
    return (V)_mm256_i32gather_ps(table, (__m256i)at, 4);
#else
    V found;
    for (int k = 0; k < LANES; k++) found[k] = table[at[k]];
    return found;
#endif
}

/* 2^n · e^r with |r| ≤ ln2/2; 0 and infinity beyond what the exponent holds. */
INLINE V NAME(exponential)(V x) {
    M low = x < (REAL)EXP_LOW, high = x > (REAL)EXP_HIGH;
    const REAL ln2_high = sizeof(REAL) == 4 ? (REAL)0.693359375 : (REAL)6.93147180369123816490e-01;
    const REAL ln2_low = sizeof(REAL) == 4 ? (REAL)-2.12194440e-4 : (REAL)1.90821492927058770002e-10;
    x = NAME(either)(low, NAME(all)((REAL)EXP_LOW), x);
    x = NAME(either)(high, NAME(all)((REAL)EXP_HIGH), x);
    V shifted = x * (REAL)1.4426950408889634 + (REAL)MAGIC;
    V n = shifted - (REAL)MAGIC;
    V r = (x - n * ln2_high) - n * ln2_low;
    V p;
    if (sizeof(REAL) == 4) {
        p = NAME(all)((REAL)(1.0 / 720));
    } else {
        p = r * (REAL)(1.0 / 6227020800.0) + (REAL)(1.0 / 479001600.0);
        p = p * r + (REAL)(1.0 / 39916800.0);
        p = p * r + (REAL)(1.0 / 3628800.0);
        p = p * r + (REAL)(1.0 / 362880.0);
        p = p * r + (REAL)(1.0 / 40320.0);
        p = p * r + (REAL)(1.0 / 5040.0);
        p = p * r + (REAL)(1.0 / 720);
    }
    p = p * r + (REAL)(1.0 / 120);
    p = p * r + (REAL)(1.0 / 24);
    p = p * r + (REAL)(1.0 / 6);
    p = p * r + (REAL)0.5;
    p = p * r + 1;
    p = p * r + 1;
    M scale = ((M)shifted - (M)NAME(all)((REAL)MAGIC) + BIAS) << MANTISSA;
    return NAME(only)(~low, NAME(either)(high, NAME(all)((REAL)INFINITY), p * (V)scale));
}

/* The surrogate's derivative at distance d from the threshold; ``kind`` is a constant where this is expanded. */
INLINE V NAME(slope)(V d, int kind, REAL a) {
    V m = NAME(size_of)(d), z;
    switch (kind) {
    case SIGMOID: z = 1 / (1 + NAME(exponential)(-a * d)); return a * z * (1 - z);
    case ATAN: z = d * (a * (REAL)1.57079632679489661923); return (a / 2) / (1 + z * z);
    case PIECEWISE_QUADRATIC: z = a - a * a * m; return NAME(only)(~(z <= 0), z); /* NaN stays */
    case PIECEWISE_EXP: return a / 2 * NAME(exponential)(-a * m);
    case SOFT_SIGN: z = 1 / a + m; return 1 / (2 * a * z * z);
    case SUPER_SPIKE: z = 1 + m; return a / (z * z);
    case ERF: return a * (REAL)0.56418958354775628695 * NAME(exponential)(-a * a * d * d);
    default: return NAME(only)(m < 1 / (2 * a), NAME(all)(a));
    }
}
