// Which inputs fired: the set bits of each row as a list of columns (rows are batch rows, or pixels with channels as
// columns), and the lists of several pixels joined into the list of one output.

// Columns of every row's set bits; row r has those from starts[r] to starts[r + 1]. Columns has 64 spare entries.
void snnkit_lists(const uint64_t *words, int64_t rows, int64_t width, int64_t levels, uint32_t *starts,
                  uint16_t *columns) {
    uint32_t n = 0;
#if defined(__AVX512VBMI2__) && defined(__AVX512BW__)
    char count[64];
    for (int i = 0; i < 64; i++) count[i] = (char)i;
    const __m512i ascending = _mm512_loadu_si512(count);
#endif
    for (int64_t r = 0; r < rows; r++) {
        starts[r] = n;
        for (int64_t d = 0; d < levels; d++)
            for (int64_t w = 0; w < width; w++) {
                uint64_t word = words[(r * levels + d) * width + w];
                const uint32_t base = 64 * (uint32_t)w;
#if defined(__AVX512VBMI2__) && defined(__AVX512BW__)
                const __m512i set = _mm512_maskz_compress_epi8(word, ascending);
                const __m512i from = _mm512_set1_epi16((short)base);
                const uint32_t bits = __builtin_popcountll(word);
                _mm512_storeu_si512(columns + n,
                                    _mm512_add_epi16(from, _mm512_cvtepu8_epi16(_mm512_castsi512_si256(set))));
                if (bits > 32)
                    _mm512_storeu_si512(columns + n + 32, _mm512_add_epi16(from, _mm512_cvtepu8_epi16(
                                                                               _mm512_extracti64x4_epi64(set, 1))));
                n += bits;
#else
                for (; word; word &= word - 1) columns[n++] = (uint16_t)(base + __builtin_ctzll(word));
#endif
            }
    }
    starts[rows] = n;
}

typedef struct {
    int64_t in_h, in_w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    int64_t channels, outputs;
} Shape;

typedef uint16_t u16x16 __attribute__((vector_size(32), aligned(2)));
typedef uint32_t u32x16 __attribute__((vector_size(64), aligned(4)));

// Appends the offsets of one tap's weights: (first + column) << shift for each column. Writes up to 16 beyond the end;
// the first 16 go without asking whether there are any, since whether a pixel fired is what no predictor can know.
static inline uint32_t append(uint32_t *list, uint32_t n, const uint16_t *columns, uint32_t count, uint32_t first) {
    uint32_t i = 0;
    do {
        u32x16 wide = __builtin_convertvector(*(const u16x16 *)(columns + i), u32x16);
        *(u32x16 *)(list + n + i) = (wide + first) << SHIFT;
        i += 16;
    } while (__builtin_expect(i < count, 0));
    return n + count;
}

// The part of the kernel that lies on the image for one output row (image, y, x): taps i0 … i1, j0 … j1, of which tap
// (i, j) looks at the pixel from + i · down + j · right.
typedef struct {
    int64_t i0, i1, j0, j1, from, down, right;
} Window;

// Taps first … end of `taps`, `apart` pixels from each other and starting at `begin`, that lie on 0 … size.
static inline void clip_taps(int64_t begin, int64_t apart, int64_t taps, int64_t size, int64_t *first, int64_t *end) {
    int64_t a = 0, b = taps;
    while (a < b && begin + a * apart < 0) a++;
    while (b > a && begin + (b - 1) * apart >= size) b--;
    *first = a;
    *end = b;
}

static inline Window window(const Shape *s, int64_t row) {
    const int64_t pixel = row % (s->out_h * s->out_w), image = row / (s->out_h * s->out_w);
    const int64_t top = pixel / s->out_w * s->stride_h - s->pad_h, left = pixel % s->out_w * s->stride_w - s->pad_w;
    Window w = {.from = (image * s->in_h + top) * s->in_w + left,
                .down = s->dilation_h * s->in_w,
                .right = s->dilation_w};
    clip_taps(top, s->dilation_h, s->kernel_h, s->in_h, &w.i0, &w.i1);
    clip_taps(left, s->dilation_w, s->kernel_w, s->in_w, &w.j0, &w.j1);
    return w;
}

// The list of one output row: what fired under the kernel. Returns its length.
static uint32_t gather(const Shape *s, const uint32_t *starts, const uint16_t *columns, int64_t row, uint32_t *list) {
    const Window at = window(s, row);
    uint32_t n = 0;
    for (int64_t i = at.i0; i < at.i1; i++)
        for (int64_t j = at.j0; j < at.j1; j++) {
            const int64_t from = at.from + i * at.down + j * at.right;
            const uint32_t first = (uint32_t)((i * s->kernel_w + j) * s->channels);
            n = append(list, n, columns + starts[from], starts[from + 1] - starts[from], first);
        }
    return n;
}
