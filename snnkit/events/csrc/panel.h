// Sums of weight rows over one panel of outputs, for a block of output rows. Included once per kind of weights with
//   NAME      of the function,
//   INTEGER   0: float weights and sums; 1: int16 weights, whose sums are flushed to int32 before they can overflow.
// Rows come sorted by length, so that the loop over events ends where the branch predictor expects it; each list is
// filled up to a multiple of 4 with the row of zeros that follows the weights.

#if INTEGER
#define VECTOR s16
#define WIDTH (PANEL_BYTES / 2)
#else
#define VECTOR f32
#define WIDTH (PANEL_BYTES / 4)
#endif

static void NAME(const Target *t, const char *panel, const Block *b, int64_t column) {
    const int64_t here = t->outputs - column < WIDTH ? t->outputs - column : WIDTH;
    for (int64_t i = 0; i < b->rows; i++) {
        const int64_t r = b->order[i];
        const uint32_t *list = b->list + b->starts[r];
        int64_t left = b->starts[r + 1] - b->starts[r];
        float *out = t->out + (b->first + r) * t->outputs + column;
        VECTOR sum[VECTORS];
#if INTEGER
        s32 wide[2 * VECTORS] = {0};
        do {
#endif
            const int64_t now = INTEGER && left > FLUSH ? FLUSH : left;
            // Two sums, so that one addition need not wait for the other.
            VECTOR even[VECTORS] = {0}, odd[VECTORS] = {0};
            for (int64_t e = 0; e < now; e += 2) {
                const VECTOR *w0 = (const VECTOR *)(panel + list[e]), *w1 = (const VECTOR *)(panel + list[e + 1]);
                for (int v = 0; v < VECTORS; v++) {
                    even[v] += w0[v];
                    odd[v] += w1[v];
                }
            }
            for (int v = 0; v < VECTORS; v++) sum[v] = even[v] + odd[v];
            list += now;
            left -= now;
#if INTEGER
            for (int v = 0; v < VECTORS; v++) {
                const s16_half *half = (const s16_half *)(sum + v);
                wide[2 * v] += __builtin_convertvector(half[0], s32);
                wide[2 * v + 1] += __builtin_convertvector(half[1], s32);
            }
        } while (left > 0);
        if (t->scale) {
            f32 scaled[2 * VECTORS];
            for (int v = 0; v < 2 * VECTORS; v++) {
                const f32 scale = *(const f32 *)(t->scale + column + LANES * v);
                scaled[v] = __builtin_convertvector(wide[v], f32) * scale + *(const f32 *)(t->bias + column + LANES * v);
            }
            put(out, scaled, 2 * VECTORS, here);
        } else {
            put(out, wide, 2 * VECTORS, here);
        }
#else
        for (int v = 0; v < VECTORS; v++) sum[v] += *(const f32 *)(t->bias + column + LANES * v);
        put(out, sum, VECTORS, here);
#endif
    }
}

#undef NAME
#undef INTEGER
#undef VECTOR
#undef WIDTH
