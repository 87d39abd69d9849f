// Convolutions in groups. Included once per kind of weights with
//   NAME(x)   names of the functions,
//   INTEGER   0: float weights and sums; 1: int16 weights and exact integer sums.
//
// depthwise: one input an output. The bits of 64 channels say which of 64 weights are added; a word without spikes
//            costs a test. Weights lie as [word][tap][64 channels].
// scatter:   any groups. Every event adds the weights from its channel to the outputs of its group, at each output pixel
//            that sees it; silent pixels cost a look. Weights lie as [tap][channel][output in group].

#if INTEGER
#define WEIGHT int16_t
#define VECTOR s16
#define SUM aliasing_int
#else
#define WEIGHT float
#define VECTOR f32
#define SUM aliasing_float
#endif
#define MANY (64 * (int)sizeof(WEIGHT) / BYTES)
#define LANES_HERE (BYTES / (int)sizeof(WEIGHT))

// Adds the weights whose bits are set.
static inline __attribute__((always_inline)) void NAME(add)(VECTOR *sum, const WEIGHT *weights, uint64_t word) {
    for (int v = 0; v < MANY; v++) {
        const VECTOR w = *(const VECTOR *)(weights + v * LANES_HERE);
#if defined(__AVX512F__) && defined(__AVX512BW__)
#if INTEGER
        sum[v] = (VECTOR)_mm512_mask_add_epi16((__m512i)sum[v], (__mmask32)(word >> 32 * v), (__m512i)sum[v], (__m512i)w);
#else
        sum[v] = (VECTOR)_mm512_mask_add_ps((__m512)sum[v], (__mmask16)(word >> 16 * v), (__m512)sum[v], (__m512)w);
#endif
#elif INTEGER
        const s16 bits = (s16){0} + (int16_t)(word >> v * LANES_HERE);
        sum[v] += w & ((bits & lane_bits_16) != 0);
#else
        const s32 bits = (s32){0} + (int32_t)(word >> v * LANES_HERE);
        sum[v] += (f32)((s32)w & ((bits & lane_bits_32) != 0));
#endif
    }
}

#if INTEGER
static inline void widen(s32 *wide, s16 *sum) {
    for (int v = 0; v < MANY; v++) {
        const s16_half *half = (const s16_half *)(sum + v);
        wide[2 * v] += __builtin_convertvector(half[0], s32);
        wide[2 * v + 1] += __builtin_convertvector(half[1], s32);
        sum[v] = (s16){0};
    }
}
#endif

static void NAME(depthwise)(const Shape *s, const uint64_t *words, int64_t levels, const WEIGHT *weights,
                            const Target *t, int64_t first, int64_t last) {
    const int64_t width = (s->channels + 63) / 64, taps = s->kernel_h * s->kernel_w;
    for (int64_t block = 0; block < width; block++, weights += taps * 64) {
        const int64_t column = 64 * block, here = t->outputs - column < 64 ? t->outputs - column : 64;
        for (int64_t row = first; row < last; row++) {
            const Window at = window(s, row);
            float *out = t->out + row * t->outputs + column;
            VECTOR sum[MANY] = {0};
#if INTEGER
            s32 wide[2 * MANY] = {0};
            int added = 0;
#endif
            for (int64_t i = at.i0; i < at.i1; i++)
                for (int64_t j = at.j0; j < at.j1; j++) {
                    const uint64_t *from = words + (at.from + i * at.down + j * at.right) * levels * width + block;
                    for (int64_t d = 0; d < levels; d++) {
                        if (!from[d * width]) continue;
                        NAME(add)(sum, weights + (i * s->kernel_w + j) * 64, from[d * width]);
#if INTEGER
                        if (++added == FLUSH) widen(wide, sum), added = 0;
#endif
                    }
                }
#if INTEGER
            widen(wide, sum);
            if (t->scale) {
                f32 scaled[2 * MANY];
                for (int v = 0; v < 2 * MANY; v++) {
                    const int64_t c = column + LANES * v;
                    scaled[v] = __builtin_convertvector(wide[v], f32) * *(const f32 *)(t->scale + c);
                    scaled[v] += *(const f32 *)(t->bias + c);
                }
                put(out, scaled, 2 * MANY, here);
            } else {
                put(out, wide, 2 * MANY, here);
            }
#else
            for (int v = 0; v < MANY; v++) sum[v] += *(const f32 *)(t->bias + column + LANES * v);
            put(out, sum, MANY, here);
#endif
        }
    }
}

// The events of one pixel under one tap. Called with constants for small groups, so that the inner loop is unrolled.
static inline __attribute__((always_inline)) void NAME(spread)(SUM *restrict sums, const WEIGHT *restrict weights,
                                                               const uint16_t *columns, uint32_t count,
                                                               const int32_t *restrict places, int64_t per_group) {
    for (uint32_t e = 0; e < count; e++) {
        const WEIGHT *restrict w = weights + columns[e] * per_group;
        SUM *restrict to = sums + places[columns[e]];
        for (int64_t m = 0; m < per_group; m++) to[m] += w[m];
    }
}

// Output pixels first … last of one image from all its events. reach_x[x · kernel_w + j] is the output column that sees
// column x by tap j, or -1; reach_y likewise.
static void NAME(scatter)(const Shape *s, const uint32_t *starts, const uint16_t *columns, const int32_t *places,
                          const WEIGHT *weights, int64_t per_group, SUM *out, const int32_t *reach_y,
                          const int32_t *reach_x, int64_t first, int64_t last) {
    for (int64_t y = 0; y < s->in_h; y++)
        for (int64_t i = 0; i < s->kernel_h; i++) {
            const int64_t out_y = reach_y[y * s->kernel_h + i], begin = out_y * s->out_w;
            if (out_y < 0 || begin >= last || begin + s->out_w <= first) continue;
            for (int64_t x = 0; x < s->in_w; x++) {
                const uint32_t from = starts[y * s->in_w + x], count = starts[y * s->in_w + x + 1] - from;
                if (!count) continue;
                for (int64_t j = 0; j < s->kernel_w; j++) {
                    const int64_t out_x = reach_x[x * s->kernel_w + j], pixel = begin + out_x;
                    if (out_x < 0 || pixel < first || pixel >= last) continue;
                    const WEIGHT *tap = weights + (i * s->kernel_w + j) * s->channels * per_group;
                    SUM *sums = out + pixel * s->outputs;
                    switch (per_group) {
                    case 1: NAME(spread)(sums, tap, columns + from, count, places, 1); break;
                    case 2: NAME(spread)(sums, tap, columns + from, count, places, 2); break;
                    case 4: NAME(spread)(sums, tap, columns + from, count, places, 4); break;
                    case 8: NAME(spread)(sums, tap, columns + from, count, places, 8); break;
                    case 16: NAME(spread)(sums, tap, columns + from, count, places, 16); break;
                    default: NAME(spread)(sums, tap, columns + from, count, places, per_group);
                    }
                }
            }
        }
}

#undef NAME
#undef INTEGER
#undef WEIGHT
#undef VECTOR
#undef SUM
#undef MANY
#undef LANES_HERE
