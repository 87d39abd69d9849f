// Event-driven linear layers and convolutions: sums of the weight rows of the inputs that fired.
//
//   bits.h    floats to bits and back
//   lists.h   bits to lists of inputs
//   panel.h   lists to outputs
//   groups.h  bits or lists to outputs, where outputs see a group of the inputs
//   gradient.h  lists and output gradients to the gradient of the weights
//
// Weights lie in panels of few outputs, [panel][input][output in panel], so that one panel stays in the first or second
// cache while it serves a block of rows. After the inputs of a panel comes a row of zeros.
// Portable C with vector extensions; needs nothing but libc.
#include <stdlib.h>

#include "bits.h"

#define PANEL_BYTES 128  // a pair of cache lines
#define SHIFT 7          // 2^SHIFT = PANEL_BYTES
#define FLUSH 252        // a multiple of 4 for which FLUSH · 128 < 2^15
#define EVENTS_AT_ONCE (1 << 15)
#define ROWS_AT_ONCE (1 << 11)

// Vectors are as wide as the processor's: gcc keeps wider ones in memory.
#if defined(__AVX512F__) && defined(__AVX512BW__)
#define BYTES 64
#elif defined(__AVX2__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define VECTORS (PANEL_BYTES / BYTES)
#define LANES (BYTES / 4)

#include "lists.h"

typedef float f32 __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef int16_t s16 __attribute__((vector_size(BYTES), aligned(2), may_alias));
typedef int16_t s16_half __attribute__((vector_size(BYTES / 2), aligned(2), may_alias));
typedef int32_t s32 __attribute__((vector_size(BYTES), aligned(4), may_alias));

typedef struct {
    float *out;          // (rows, outputs), float or int32
    const float *scale;  // per output, filled up to whole panels; null: integers are wanted
    const float *bias;   // per output, filled up to whole panels
    int64_t outputs;
} Target;

typedef struct {
    int64_t first, rows;     // output rows of this block
    const uint32_t *list;    // byte offsets into a panel
    const uint32_t *starts;  // row → its list
    const int32_t *order;    // rows by length
} Block;

// Writes `here` values of 4 bytes.
static inline __attribute__((always_inline)) void put(float *out, const void *values, int vectors, int64_t here) {
    if (here == LANES * vectors)
        for (int v = 0; v < vectors; v++) ((f32 *)out)[v] = ((const f32 *)values)[v];
    else
        memcpy(out, values, here * 4);
}

#define NAME floats_
#define INTEGER 0
#include "panel.h"
#define NAME integers_
#define INTEGER 1
#include "panel.h"

// Stable counting sort of rows by the length of their list in steps of 4; very long ones share the last place.
enum { LENGTHS = 1024 };
static void sort_rows(const uint32_t *starts, int64_t rows, int32_t *order) {
    uint32_t place[LENGTHS + 1] = {0};
    for (int64_t r = 0; r < rows; r++) {
        const uint32_t n = (starts[r + 1] - starts[r]) / 4;
        place[(n < LENGTHS ? n : LENGTHS - 1) + 1]++;
    }
    for (int i = 0; i < LENGTHS; i++) place[i + 1] += place[i];
    for (int64_t r = 0; r < rows; r++) {
        const uint32_t n = (starts[r + 1] - starts[r]) / 4;
        order[place[n < LENGTHS ? n : LENGTHS - 1]++] = (int32_t)r;
    }
}

// Output rows first … last of a convolution or linear layer. `weights` are panels of float, or of int16 if `integers`.
// Returns 0, or 1 where there is no memory for the lists.
int snnkit_events(const Shape *s, const uint32_t *starts, const uint16_t *columns, const void *weights, int integers,
                  const float *scale, const float *bias, void *out, int64_t levels, int64_t first, int64_t last) {
    const int64_t inputs = s->kernel_h * s->kernel_w * s->channels, longest = inputs * levels + 32;
    const int64_t width = PANEL_BYTES / (integers ? 2 : 4);
    const Target target = {out, scale, bias, s->outputs};
    uint32_t *list = malloc((EVENTS_AT_ONCE + longest) * sizeof *list);
    uint32_t *begins = malloc((ROWS_AT_ONCE + 1) * sizeof *begins);
    int32_t *order = malloc(ROWS_AT_ONCE * sizeof *order);
    const int failed = !list || !begins || !order;
    for (int64_t row = first; !failed && row < last;) {
        Block b = {row, 0, list, begins, order};
        uint32_t n = 0;
        while (row < last && b.rows < ROWS_AT_ONCE && n < EVENTS_AT_ONCE) {
            begins[b.rows++] = n;
            n += gather(s, starts, columns, row++, list + n);
            while (n % 4) list[n++] = (uint32_t)inputs << SHIFT;
        }
        begins[b.rows] = n;
        sort_rows(begins, b.rows, order);
        for (int64_t column = 0; column < s->outputs; column += width) {
            const char *panel = (const char *)weights + column / width * ((inputs + 1) << SHIFT);
            (integers ? integers_ : floats_)(&target, panel, &b, column);
        }
    }
    free(list);
    free(begins);
    free(order);
    return failed;
}

// Turns rows of int32 sums into floats where they lie: sum · scale + bias per output.
typedef float aliasing_float __attribute__((may_alias));
typedef int32_t aliasing_int __attribute__((may_alias));
void snnkit_scale(int32_t *sums, int64_t rows, int64_t outputs, const float *scale, const float *bias) {
    for (int64_t r = 0; r < rows; r++, sums += outputs)
        for (int64_t i = 0; i < outputs; i++)
            ((aliasing_float *)sums)[i] = (float)sums[i] * scale[i] + bias[i];
}

#if !(defined(__AVX512F__) && defined(__AVX512BW__))
#if BYTES == 32
static const s32 lane_bits_32 = {1, 2, 4, 8, 16, 32, 64, 128};
static const s16 lane_bits_16 = {1,     2,     4,      8,      16,     32,     64,      128,
                                 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x4000, -0x8000};
#else
static const s32 lane_bits_32 = {1, 2, 4, 8};
static const s16 lane_bits_16 = {1, 2, 4, 8, 16, 32, 64, 128};
#endif
#endif

#define NAME(x) floats_##x
#define INTEGER 0
#include "groups.h"
#define NAME(x) integers_##x
#define INTEGER 1
#include "groups.h"

// Output rows first … last of a convolution with one input an output, from the bits themselves.
void snnkit_depthwise(const Shape *s, const uint64_t *words, const void *weights, int integers, const float *scale,
                      const float *bias, void *out, int64_t levels, int64_t first, int64_t last) {
    const Target target = {out, scale, bias, s->outputs};
    if (integers)
        integers_depthwise(s, words, levels, weights, &target, first, last);
    else
        floats_depthwise(s, words, levels, weights, &target, first, last);
}

// The output coordinate that sees each of `size` inputs by each tap, or -1: [input][tap].
static void reach(int32_t *found, int64_t size, int64_t out, int64_t taps, int64_t stride, int64_t pad, int64_t apart) {
    for (int64_t at = 0; at < size; at++)
        for (int64_t i = 0; i < taps; i++) {
            const int64_t shifted = at + pad - i * apart;
            const int seen = shifted >= 0 && shifted % stride == 0 && shifted / stride < out;
            found[at * taps + i] = seen ? (int32_t)(shifted / stride) : -1;
        }
}

// Output rows first … last of a convolution in any groups, from lists; places[c] is the first output of the group of
// channel c. Returns 0, or 1 where there is no memory.
int snnkit_grouped(const Shape *s, const uint32_t *starts, const uint16_t *columns, const int32_t *places,
                   int64_t per_group, const void *weights, int integers, const float *scale, const float *bias,
                   float *out, int64_t first, int64_t last) {
    const int64_t pixels = s->out_h * s->out_w;
    int32_t *reach_y = malloc((s->in_h * s->kernel_h + s->in_w * s->kernel_w) * sizeof *reach_y);
    if (!reach_y) return 1;
    int32_t *reach_x = reach_y + s->in_h * s->kernel_h;
    reach(reach_y, s->in_h, s->out_h, s->kernel_h, s->stride_h, s->pad_h, s->dilation_h);
    reach(reach_x, s->in_w, s->out_w, s->kernel_w, s->stride_w, s->pad_w, s->dilation_w);
    for (int64_t row = first; row < last;) {
        const int64_t image = row / pixels, begin = row - image * pixels;
        const int64_t end = last - image * pixels < pixels ? last - image * pixels : pixels;
        const uint32_t *here = starts + image * s->in_h * s->in_w;
        float *sums = out + image * pixels * s->outputs;
        if (integers) {
            memset(sums + begin * s->outputs, 0, (end - begin) * s->outputs * 4);
            integers_scatter(s, here, columns, places, weights, per_group, (aliasing_int *)sums, reach_y, reach_x,
                             begin, end);
            if (scale) snnkit_scale((int32_t *)sums + begin * s->outputs, end - begin, s->outputs, scale, bias);
        } else {
            for (int64_t r = begin; r < end; r++) memcpy(sums + r * s->outputs, bias, s->outputs * 4);
            floats_scatter(s, here, columns, places, weights, per_group, sums, reach_y, reach_x, begin, end);
        }
        row += end - begin;
    }
    free(reach_y);
    return 0;
}

#include "gradient.h"
