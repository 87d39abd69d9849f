// Events that are whole numbers: what they bring through the weights of a layer, step after step, and what the neurons
// behind it send, in one pass.
//
// Events x (steps, images, height, width, channels) are int16, zero-padded; weights int16; sums int32. Two neighbouring
// channels lie in 32 bits and meet two weights in one instruction. Weights lie in panels of WIDTH outputs,
// [panel][tap][pair of channels][output][2]. The sums of a few output pixels stay in the first cache for all steps:
//
//   sums += W x_t;   y_t = sums · step (+ other_t);   y_t = clip(y_t, least, most);   trace y_t -> events of step t
//
// A step in which few inputs fired is computed from lists of the pairs that did, any other densely; both add up the same
// integers. Portable C with vector extensions; needs nothing but libc.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__)
#define BYTES 64
#define PIXELS 6
#elif defined(__AVX2__)
#define BYTES 32
#define PIXELS 2
#else
#define BYTES 16
#define PIXELS 2
#endif
#define LANES (BYTES / 4)
#define VECTORS 4
#define WIDTH (VECTORS * LANES)
#define SPARE 32  // entries that are written beyond the end of a list
#define LIST_ENTRIES (1 << 17)
#define BLOCK 128  // output pixels at once, at most

typedef int32_t s32 __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef float f32 __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef int16_t s16 __attribute__((vector_size(BYTES), aligned(2), may_alias));
typedef int16_t s16_half __attribute__((vector_size(BYTES / 2), aligned(2), may_alias));
typedef int32_t word __attribute__((aligned(2), may_alias));
#define INLINE static inline __attribute__((always_inline))

int64_t snnkit_graded_width(void) { return WIDTH; }

typedef struct {
    int64_t images, in_h, in_w, channels;  // of x, with its padding; channels are even
    int64_t from_h, from_w;                // where the first window begins in x
    int64_t out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, outputs;
    int64_t steps_in, steps_y, steps;  // of x; until y no longer changes; of the neurons
    int64_t depthwise;                 // every output sees the channel of its number alone
} Shape;

typedef struct {
    const float *step;    // per output, whole panels: what one unit of a sum is worth
    int32_t *sums;        // (pixels, outputs in whole panels)
    const float *other;   // (other_steps, pixels, outputs), added to y; or null
    float *y;             // (steps_y, pixels, outputs), or null
    const float *scale;   // per output, whole panels; null: no neurons follow
    float *total;         // (pixels, outputs in whole panels): what they have sent
    int16_t *events;      // (steps, images, event_h, event_w, event_channels)
    int64_t *counts;      // (steps, 2): events, and their sizes added up
    int64_t other_steps, low, high, largest;  // largest event, 0: any
    int64_t event_h, event_w, event_pad_h, event_pad_w, event_channels;
    double least, most;  // y lies between them
} After;

// sum += w0 · x0 + w1 · x1 in every lane.
INLINE s32 dot(s32 sum, s16 w, int32_t pair) {
#if defined(__AVX512VNNI__) && BYTES == 64
    return (s32)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)w, _mm512_set1_epi32(pair));
#elif BYTES == 64
    return sum + (s32)_mm512_madd_epi16((__m512i)w, _mm512_set1_epi32(pair));
#elif BYTES == 32
    return sum + (s32)_mm256_madd_epi16((__m256i)w, _mm256_set1_epi32(pair));
#else
    const s32 both = (s32)w, low = both << 16 >> 16, high = both >> 16;
    return sum + low * (int32_t)(int16_t)pair + high * (pair >> 16);
#endif
}

// ---------------------------------------------------------------------------------------------------------- lists

// The pairs of every row that are not 0. Row r has those from starts[r] to starts[r + 1].
void snnkit_graded_lists(const int16_t *x, int64_t rows, int64_t pairs, uint32_t *starts, uint16_t *columns,
                         int32_t *values) {
    const word *from = (const word *)x;
    uint32_t n = 0;
    for (int64_t r = 0; r < rows; r++, from += pairs) {
        starts[r] = n;
        int64_t c = 0;
#if BYTES == 64
        __m512i at = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for (; c < pairs; c += 16) {
            const __mmask16 here = pairs - c < 16 ? (__mmask16)((1u << (pairs - c)) - 1) : (__mmask16)0xFFFF;
            const __m512i v = _mm512_maskz_loadu_epi32(here, from + c);
            const __mmask16 set = _mm512_test_epi32_mask(v, v);
            _mm512_storeu_si512(values + n, _mm512_maskz_compress_epi32(set, v));
            _mm256_storeu_si256((__m256i *)(columns + n), _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(set, at)));
            n += (uint32_t)__builtin_popcount(set);
            at = _mm512_add_epi32(at, _mm512_set1_epi32(16));
        }
#else
        for (; c < pairs; c++) {
            values[n] = from[c];
            columns[n] = (uint16_t)c;
            n += from[c] != 0;
        }
#endif
    }
    starts[rows] = n;
}

typedef struct {
    const uint32_t *starts;  // of this step, or null: it is computed densely
    const uint16_t *columns;
    const int32_t *values;
} Lists;

typedef struct {
    uint32_t *offsets;  // of weights, in bytes
    int32_t *values;
    uint32_t starts[BLOCK * 65 + 1];
} Joined;

#define ROW_BYTES (WIDTH * 4)
typedef uint16_t u16x16 __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint32_t u32x16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t s32x16 __attribute__((vector_size(64), aligned(4), may_alias));

// Joins the lists of all pixels under one window.
static uint32_t join(const Shape *s, const Lists *l, int64_t pixel, uint32_t *offsets, int32_t *values) {
    uint32_t n = 0, base = 0;
    for (int64_t i = 0; i < s->kernel_h; i++)
        for (int64_t j = 0; j < s->kernel_w; j++, base += (uint32_t)(s->channels / 2)) {
            const int64_t at = pixel + i * s->dilation_h * s->in_w + j * s->dilation_w;
            const uint32_t first = l->starts[at], count = l->starts[at + 1] - first;
            uint32_t k = 0;
            do {
                const u32x16 wide = __builtin_convertvector(*(const u16x16 *)(l->columns + first + k), u32x16);
                *(u32x16 *)(offsets + n + k) = (wide + base) * ROW_BYTES;
                *(s32x16 *)(values + n + k) = *(const s32x16 *)(l->values + first + k);
                k += 16;
            } while (__builtin_expect(k < count, 0));
            n += count;
        }
    if (n & 1) offsets[n] = 0, values[n] = 0, n++;
    return n;
}

INLINE void sparse(s32 *sums, const char *panel, const uint32_t *offsets, const int32_t *values, uint32_t count) {
    s32 even[VECTORS], odd[VECTORS] = {0};
    for (int v = 0; v < VECTORS; v++) even[v] = sums[v];
    for (uint32_t e = 0; e < count; e += 2) {
        const s16 *a = (const s16 *)(panel + offsets[e]), *b = (const s16 *)(panel + offsets[e + 1]);
        for (int v = 0; v < VECTORS; v++) {
            even[v] = dot(even[v], a[v], values[e]);
            odd[v] = dot(odd[v], b[v], values[e + 1]);
        }
    }
    for (int v = 0; v < VECTORS; v++) sums[v] = even[v] + odd[v];
}

// ---------------------------------------------------------------------------------------------------------- dense

INLINE void dense_pixels(s32 (*sums)[VECTORS], const int16_t *const *x, const Shape *s, const s16 *panel,
                         const int pixels) {
    s32 sum[PIXELS][VECTORS];
    const int16_t *from[PIXELS];
    for (int p = 0; p < pixels; p++) {
        from[p] = x[p];
        for (int v = 0; v < VECTORS; v++) sum[p][v] = sums[p][v];
    }
    const int64_t pairs = s->channels / 2;
    for (int64_t i = 0; i < s->kernel_h; i++)
        for (int64_t j = 0; j < s->kernel_w; j++) {
            const int64_t off = (i * s->dilation_h * s->in_w + j * s->dilation_w) * s->channels;
            for (int64_t c = 0; c < pairs; c++, panel += VECTORS) {
                const s16 w0 = panel[0], w1 = panel[1], w2 = panel[2], w3 = panel[3];
#pragma GCC unroll 6
                for (int p = 0; p < pixels; p++) {
                    const int32_t pair = *(const word *)(from[p] + off + 2 * c);
                    sum[p][0] = dot(sum[p][0], w0, pair);
                    sum[p][1] = dot(sum[p][1], w1, pair);
                    sum[p][2] = dot(sum[p][2], w2, pair);
                    sum[p][3] = dot(sum[p][3], w3, pair);
                }
            }
        }
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < VECTORS; v++) sums[p][v] = sum[p][v];
}

static void dense(s32 (*sums)[VECTORS], const int16_t *const *x, const Shape *s, const void *panel, int64_t pixels) {
    switch (pixels) {
#if PIXELS >= 6
    case 6: dense_pixels(sums, x, s, panel, 6); break;
    case 5: dense_pixels(sums, x, s, panel, 5); break;
    case 4: dense_pixels(sums, x, s, panel, 4); break;
    case 3: dense_pixels(sums, x, s, panel, 3); break;
#endif
    case 2: dense_pixels(sums, x, s, panel, 2); break;
    default: dense_pixels(sums, x, s, panel, 1);
    }
}

// One channel an output; weights are int32, [panel][tap][output].
static void depthwise(s32 (*sums)[VECTORS], const int16_t *const *x, const Shape *s, const void *panel, int64_t pixels) {
    for (int64_t p = 0; p < pixels; p++) {
        const s32 *w = panel;
        s32 sum[VECTORS];
        for (int v = 0; v < VECTORS; v++) sum[v] = sums[p][v];
        for (int64_t i = 0; i < s->kernel_h; i++)
            for (int64_t j = 0; j < s->kernel_w; j++, w += VECTORS) {
                const int16_t *from = x[p] + (i * s->dilation_h * s->in_w + j * s->dilation_w) * s->channels;
                for (int v = 0; v < VECTORS; v++)
                    sum[v] += __builtin_convertvector(*(const s16_half *)(from + LANES * v), s32) * w[v];
            }
        for (int v = 0; v < VECTORS; v++) sums[p][v] = sum[v];
    }
}

// Every event x becomes the pair x · 2^shift, x: it meets weights of more than 16 bits in two parts.
void snnkit_graded_split(const int16_t *x, int32_t *pairs, int64_t n, int64_t shift) {
    const int32_t factor = 1 << shift;
    for (int64_t i = 0; i < n; i++) pairs[i] = (int32_t)((uint32_t)(uint16_t)(x[i] * factor) | (uint32_t)x[i] << 16);
}

// ---------------------------------------------------------------------------------------------------------- neurons

INLINE f32 load_some(const float *from, int64_t left) {
    f32 found = {0};
    if (left >= LANES) return *(const f32 *)from;
    if (left > 0) memcpy(&found, from, left * 4);
    return found;
}

INLINE void store_some(float *to, f32 value, int64_t left) {
    if (left >= LANES)
        *(f32 *)to = value;
    else if (left > 0)
        memcpy(to, &value, left * 4);
}

INLINE f32 floor_of(f32 x) {
#if BYTES == 64
    return (f32)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#elif BYTES == 32
    return (f32)_mm256_floor_ps((__m256)x);
#else
    for (int i = 0; i < LANES; i++) x[i] = floorf(x[i]);
    return x;
#endif
}

INLINE f32 pick(s32 mask, f32 a, f32 b) { return (f32)(((s32)a & mask) | ((s32)b & ~mask)); }

// clip(floor(y / scale + 1/2), low, high)
INLINE f32 code_of(f32 y, f32 scale, f32 low, f32 high) {
    f32 code = floor_of(y / scale + 0.5f);
    code = pick(code < low, low, code);
    return pick(code > high, high, code);
}

// The largest power of two that does not overshoot: the bits of a float without its fraction.
INLINE f32 event_of(f32 wanted, float largest) {
    if (largest == 0) return wanted;
    const f32 power = (f32)((s32)wanted & (int32_t)0xFF800000), most = (f32){0} + largest;
    return pick(power > most, most, pick(power < -most, -most, power));
}

// Everything behind the sums of one step for up to PIXELS pixels of one panel.
typedef struct {
    int64_t pixel, image, row, column;  // of the output
} Place;

INLINE void after(const After *a, const Shape *s, int64_t t, int64_t pixels, int64_t total_pixels, const Place *places,
                  int64_t panel_column, s32 (*sums)[VECTORS], f32 (*values)[VECTORS], f32 (*totals)[VECTORS]) {
    const int64_t left = s->outputs - panel_column;
    const int moves = t < s->steps_y, fires = a->scale != 0;
    const int64_t ot = a->other ? (t < a->other_steps ? t : a->other_steps - 1) : 0;
    const float largest = (float)a->largest;
    const f32 low = (f32){0} + (float)a->low, high = (f32){0} + (float)a->high;
    const f32 least = (f32){0} + (float)a->least, most = (f32){0} + (float)a->most;
    s32 count = {0}, size = {0};
    for (int64_t p = 0; p < pixels; p++) {
        const int64_t at = places[p].pixel * s->outputs + panel_column;
        int16_t *to = 0;
        if (fires)
            to = a->events + ((((t * s->images + places[p].image) * a->event_h + places[p].row + a->event_pad_h) * a->event_w +
                               places[p].column + a->event_pad_w) * a->event_channels + panel_column);
        for (int v = 0; v < VECTORS; v++) {
            const int64_t here = left - LANES * v;
            if (here <= 0) break;
            if (moves) {
                f32 y = __builtin_convertvector(sums[p][v], f32) * *(const f32 *)(a->step + panel_column + LANES * v);
                if (a->other) y += load_some(a->other + ot * total_pixels * s->outputs + at + LANES * v, here);
                if (a->least > -INFINITY) y = pick(y < least, least, y);
                if (a->most < INFINITY) y = pick(y > most, most, y);
                if (a->y) store_some(a->y + t * total_pixels * s->outputs + at + LANES * v, y, here);
                if (fires) values[p][v] = code_of(y, *(const f32 *)(a->scale + panel_column + LANES * v), low, high);
            }
            if (!fires) continue;
            const f32 sent = event_of(values[p][v] - totals[p][v], largest);
            totals[p][v] += sent;
            const s32 whole = __builtin_convertvector(sent, s32);
            const s16_half narrow = __builtin_convertvector(whole, s16_half);
            if (here >= LANES) {
                *(s16_half *)(to + LANES * v) = narrow;
                count -= whole != 0;
                size += (whole ^ (whole >> 31)) - (whole >> 31);
            } else {
                memcpy(to + LANES * v, &narrow, here * 2);
                for (int64_t i = 0; i < here; i++) {
                    a->counts[2 * t] += whole[i] != 0;
                    a->counts[2 * t + 1] += whole[i] < 0 ? -whole[i] : whole[i];
                }
            }
        }
    }
    if (fires) {
        int64_t events = 0, spikes = 0;
        for (int i = 0; i < LANES; i++) events += count[i], spikes += size[i];
        a->counts[2 * t] += events;
        a->counts[2 * t + 1] += spikes;
    }
}

// ---------------------------------------------------------------------------------------------------------- driver

static Place place_of(const Shape *s, int64_t pixel) {
    const int64_t in_image = pixel % (s->out_h * s->out_w);
    return (Place){pixel, pixel / (s->out_h * s->out_w), in_image / s->out_w, in_image % s->out_w};
}

static int64_t window(const Shape *s, const Place *at) {
    return (at->image * s->in_h + s->from_h + at->row * s->stride_h) * s->in_w + s->from_w + at->column * s->stride_w;
}

// Output pixels first … last. `lists` has one entry a step of x. Returns 0, or 1 where there is no memory.
int snnkit_graded(const Shape *s, const int16_t *x, const Lists *lists, const void *weights, const After *a,
                  int64_t first, int64_t last) {
    const int64_t taps = s->kernel_h * s->kernel_w, pairs = taps * s->channels / 2;
    const int64_t panel_bytes = s->depthwise ? taps * WIDTH * 4 : pairs * ROW_BYTES;
    const int64_t panels = (s->outputs + WIDTH - 1) / WIDTH, total_pixels = s->images * s->out_h * s->out_w;
    const int64_t in_pixels = s->images * s->in_h * s->in_w;
    int listed = 0;
    for (int64_t t = 0; t < s->steps_in; t++) listed |= lists[t].starts != 0;
    const int64_t room = s->steps_in * (pairs + SPARE) * PIXELS, entries = room > LIST_ENTRIES ? room : LIST_ENTRIES;
    Joined *joined = malloc(sizeof *joined);
    if (!joined) return 1;
    joined->offsets = listed ? malloc((entries + SPARE) * 8) : 0;
    if (listed && !joined->offsets) {
        free(joined);
        return 1;
    }
    joined->values = (int32_t *)joined->offsets + entries + SPARE;
    Place places[BLOCK];
    const int16_t *from[PIXELS];
    for (int64_t pixel = first; pixel < last;) {
        int64_t count = 0;
        uint32_t n = 0;
        while (pixel + count < last && count < BLOCK &&
               (count % PIXELS || n + room <= entries)) {
            places[count] = place_of(s, pixel + count);
            if (listed)
                for (int64_t t = 0; t < s->steps_in; t++) {
                    joined->starts[count * s->steps_in + t] = n;
                    if (lists[t].starts)
                        n += join(s, lists + t, window(s, places + count), joined->offsets + n, joined->values + n);
                }
            count++;
        }
        joined->starts[count * s->steps_in] = n;
        for (int64_t panel = 0; panel < panels; panel++) {
            const char *w = (const char *)weights + panel * panel_bytes;
            for (int64_t tile = 0; tile < count; tile += PIXELS) {
                const int64_t here = count - tile < PIXELS ? count - tile : PIXELS;
                s32 sums[PIXELS][VECTORS];
                f32 values[PIXELS][VECTORS], totals[PIXELS][VECTORS];
                for (int64_t p = 0; p < here; p++) {
                    const int64_t at = (pixel + tile + p) * panels * WIDTH + panel * WIDTH;
                    if (a->sums) memcpy(sums[p], a->sums + at, sizeof sums[p]);
                    else memset(sums[p], 0, sizeof sums[p]);
                    if (a->scale) memcpy(totals[p], a->total + at, sizeof totals[p]);
                }
                for (int64_t t = 0; t < (a->scale ? s->steps : s->steps_y); t++) {
                    if (t < s->steps_in) {
                        if (lists[t].starts) {
                            for (int64_t p = 0; p < here; p++) {
                                const uint32_t *start = joined->starts + (tile + p) * s->steps_in + t;
                                sparse(sums[p], w, joined->offsets + start[0], joined->values + start[0],
                                       start[1] - start[0]);
                            }
                        } else {
                            for (int64_t p = 0; p < here; p++)
                                from[p] = x + (t * in_pixels + window(s, places + tile + p)) * s->channels +
                                          (s->depthwise ? panel * WIDTH : 0);
                            (s->depthwise ? depthwise : dense)(sums, from, s, w, here);
                        }
                    }
                    after(a, s, t, here, total_pixels, places + tile, panel * WIDTH, sums, values, totals);
                }
                for (int64_t p = 0; p < here; p++) {
                    const int64_t at = (pixel + tile + p) * panels * WIDTH + panel * WIDTH;
                    if (a->sums) memcpy(a->sums + at, sums[p], sizeof sums[p]);
                    if (a->scale) memcpy(a->total + at, totals[p], sizeof totals[p]);
                }
            }
        }
        pixel += count;
    }
    free(joined->offsets);
    free(joined);
    return 0;
}

// Sets the border of images (count, h, w, channels) to 0.
void snnkit_graded_border(int16_t *x, int64_t count, int64_t h, int64_t w, int64_t channels, int64_t pad_h,
                          int64_t pad_w) {
    const int64_t row = w * channels, side = pad_w * channels;
    for (int64_t n = 0; n < count; n++, x += h * row) {
        memset(x, 0, pad_h * row * 2);
        memset(x + (h - pad_h) * row, 0, pad_h * row * 2);
        for (int64_t y = pad_h; side && y < h - pad_h; y++) {
            memset(x + y * row, 0, side * 2);
            memset(x + (y + 1) * row - side, 0, side * 2);
        }
    }
}
