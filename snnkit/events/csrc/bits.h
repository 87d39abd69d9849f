// Spikes as bits: one bit a value, 64 values a word, lowest bit first; every row starts a new word.
// For more levels than one there are planes: bit d of a value's column is set where value > d (a thermometer code),
// so that a value v sets v bits in all. Plane d of a row follows plane d - 1 of the same row.
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

// Bits of 64 floats that are above `low`; adds a non-zero value to *bad where a float is none of 0, 1 … levels.
static inline uint64_t above_64(const float *x, float low) {
    uint64_t word = 0;
#if defined(__AVX512F__)
    const __m512 bound = _mm512_set1_ps(low);
    for (int i = 0; i < 4; i++)
        word |= (uint64_t)_mm512_cmp_ps_mask(_mm512_loadu_ps(x + 16 * i), bound, _CMP_GT_OQ) << (16 * i);
#elif defined(__AVX2__)
    const __m256 bound = _mm256_set1_ps(low);
    for (int i = 0; i < 8; i++) {
        __m256 set = _mm256_cmp_ps(_mm256_loadu_ps(x + 8 * i), bound, _CMP_GT_OQ);
        word |= (uint64_t)(uint32_t)_mm256_movemask_ps(set) << (8 * i);
    }
#else
    for (int i = 0; i < 64; i++) word |= (uint64_t)(x[i] > low) << i;
#endif
    return word;
}

// Whether all of n floats are whole numbers from 0 to levels (NaN is not).
static inline int all_levels(const float *x, int64_t n, float levels) {
    int32_t wrong = 0;
    if (levels == 1.0f)
        for (int64_t i = 0; i < n; i++) wrong |= (x[i] != 0.0f) & (x[i] != 1.0f);
    else
        for (int64_t i = 0; i < n; i++) {
            float whole = (float)(int32_t)(x[i] >= 0.0f && x[i] <= levels ? x[i] : -1.0f);
            wrong |= whole != x[i];
        }
    return !wrong;
}

// Rows of k floats into planes × ceil(k / 64) words each. Returns the number of set bits, or -1 - row where a row
// holds another value than 0, 1 … levels.
int64_t snnkit_pack_rows(const float *x, uint64_t *words, int64_t rows, int64_t k, int64_t levels) {
    const int64_t width = (k + 63) / 64;
    int64_t set = 0;
    float tail[64];
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * k;
        uint64_t *out = words + r * levels * width;
        if (!all_levels(row, k, (float)levels)) return -1 - r;
        for (int64_t w = 0; w < width; w++) {
            const float *from = row + 64 * w;
            const int64_t left = k - 64 * w;
            if (left < 64) {
                memset(tail, 0, sizeof tail);
                memcpy(tail, from, left * sizeof(float));
                from = tail;
            }
            for (int64_t d = 0; d < levels; d++) {
                out[d * width + w] = above_64(from, (float)d);
                set += __builtin_popcountll(out[d * width + w]);
            }
        }
    }
    return set;
}

// Transposes 64 × 64 bits in place: swaps ever smaller blocks across the diagonal.
static void transpose_64(uint64_t a[64]) {
    uint64_t mask = 0x00000000FFFFFFFFull;
    for (int j = 32; j; j >>= 1, mask ^= mask << j)
        for (int base = 0; base < 64; base += 2 * j)
            for (int i = base; i < base + j; i++) {
                uint64_t swap = ((a[i] >> j) ^ a[i + j]) & mask;
                a[i] ^= swap << j;
                a[i + j] ^= swap;
            }
}

// Images of (channels, pixels) floats into one row of planes × ceil(channels / 64) words a pixel. Returns the number
// of set bits, or -1 - image where an image holds another value than 0, 1 … levels.
int64_t snnkit_pack_images(const float *x, uint64_t *words, int64_t images, int64_t channels, int64_t pixels,
                           int64_t levels) {
    const int64_t width = (channels + 63) / 64;
    int64_t set = 0;
    uint64_t block[64];
    float tail[64];
    for (int64_t n = 0; n < images; n++) {
        const float *image = x + n * channels * pixels;
        for (int64_t c = 0; c < channels; c++)
            if (!all_levels(image + c * pixels, pixels, (float)levels)) return -1 - n;
        for (int64_t p = 0; p < pixels; p += 64) {
            const int64_t here = pixels - p < 64 ? pixels - p : 64;
            for (int64_t w = 0; w < width; w++)
                for (int64_t d = 0; d < levels; d++) {
                    for (int64_t c = 0; c < 64; c++) {
                        block[c] = 0;
                        if (64 * w + c >= channels) continue;
                        const float *from = image + (64 * w + c) * pixels + p;
                        if (here < 64) {
                            memset(tail, 0, sizeof tail);
                            memcpy(tail, from, here * sizeof(float));
                            from = tail;
                        }
                        block[c] = above_64(from, (float)d);
                        set += __builtin_popcountll(block[c]);
                    }
                    transpose_64(block);
                    for (int64_t i = 0; i < here; i++)
                        words[((n * pixels + p + i) * levels + d) * width + w] = block[i];
                }
        }
    }
    return set;
}

// The inverse: rows of k floats, each the number of its planes that are set.
void snnkit_unpack_rows(const uint64_t *words, float *x, int64_t rows, int64_t k, int64_t levels) {
    const int64_t width = (k + 63) / 64;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < k; i++) {
            int value = 0;
            for (int64_t d = 0; d < levels; d++) value += words[(r * levels + d) * width + i / 64] >> (i % 64) & 1;
            x[r * k + i] = (float)value;
        }
}

int64_t snnkit_popcount(const uint64_t *words, int64_t n) {
    int64_t set = 0;
    for (int64_t i = 0; i < n; i++) set += __builtin_popcountll(words[i]);
    return set;
}
