// Gradient of a convolution's weights from the events of its input: every event adds the output gradients at the pixels
// that see it to the weights it went through. grad lies as [tap][channel][output], or [tap][channel] where every channel
// has one output of its own; g as (rows, outputs).

#define GRADIENT_BLOCK 64

static inline __attribute__((always_inline)) void add_events(aliasing_float *restrict slab, const float *restrict g,
                                                             const uint16_t *columns, uint32_t count, int64_t apart,
                                                             int64_t here) {
    for (uint32_t e = 0; e < count; e++) {
        aliasing_float *restrict to = slab + columns[e] * apart;
        for (int64_t m = 0; m < here; m++) to[m] += g[m];
    }
}

// The tap (i, j) at all output pixels of all images; outputs column … column + here.
static void gradient_of_tap(const Shape *s, const uint32_t *starts, const uint16_t *columns, const float *g,
                            aliasing_float *slab, int64_t images, int64_t i, int64_t j, int64_t column, int64_t here) {
    for (int64_t image = 0; image < images; image++)
        for (int64_t y = 0; y < s->out_h; y++) {
            const int64_t in_y = y * s->stride_h - s->pad_h + i * s->dilation_h;
            if (in_y < 0 || in_y >= s->in_h) continue;
            const float *row = g + ((image * s->out_h + y) * s->out_w) * s->outputs + column;
            for (int64_t x = 0; x < s->out_w; x++, row += s->outputs) {
                const int64_t in_x = x * s->stride_w - s->pad_w + j * s->dilation_w;
                if (in_x < 0 || in_x >= s->in_w) continue;
                const uint32_t *from = starts + (image * s->in_h + in_y) * s->in_w + in_x;
                const uint16_t *list = columns + from[0];
                const uint32_t count = from[1] - from[0];
                if (here == 0)
                    for (uint32_t e = 0; e < count; e++) slab[list[e]] += row[list[e]];
                else if (here == GRADIENT_BLOCK)
                    add_events(slab + column, row, list, count, s->outputs, GRADIENT_BLOCK);
                else if (here == GRADIENT_BLOCK / 2)
                    add_events(slab + column, row, list, count, s->outputs, GRADIENT_BLOCK / 2);
                else
                    add_events(slab + column, row, list, count, s->outputs, here);
            }
        }
}

// Taps first … last; `depthwise`: channel c has output c and no other. grad is zero before.
void snnkit_weight_gradient(const Shape *s, const uint32_t *starts, const uint16_t *columns, const float *g,
                            float *grad, int depthwise, int64_t images, int64_t first, int64_t last) {
    for (int64_t tap = first; tap < last; tap++) {
        aliasing_float *slab = (aliasing_float *)grad + tap * s->channels * (depthwise ? 1 : s->outputs);
        const int64_t i = tap / s->kernel_w, j = tap % s->kernel_w;
        if (depthwise) {
            gradient_of_tap(s, starts, columns, g, slab, images, i, j, 0, 0);
            continue;
        }
        for (int64_t column = 0; column < s->outputs; column += GRADIENT_BLOCK) {
            const int64_t left = s->outputs - column, here = left < GRADIENT_BLOCK ? left : GRADIENT_BLOCK;
            gradient_of_tap(s, starts, columns, g, slab, images, i, j, column, here);
        }
    }
}
