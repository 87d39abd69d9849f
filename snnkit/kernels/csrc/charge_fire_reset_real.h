/* The loops for one type of numbers (REAL); included once per type by charge_fire_reset.c.
 *
 * Loops take whole lines: rows that end otherwise, and half formats, pass through buffers of the block. */

/* A block's rows. ``fill`` numbers are worked on, the block's neurons rounded up to whole lines. */
typedef struct {
    REAL tau[PADDED], th[PADDED], v[PADDED], x[PADDED], h[PADDED], gs[PADDED], out[PADDED], slope[PADDED], gv[PADDED];
    REAL gdecay[PADDED], gthreshold[PADDED], start[PADDED];
    INTEGER wide[PADDED];
    uint8_t codes[PADDED];
} NAME(Block);

/* One step forward: where it reads and writes, and what comes after it. */
typedef struct {
    const REAL *x, *next;
    REAL *h, *s;
    uint8_t *codes;
    int fill, stream;
    REAL rest, v_reset, width;
} NAME(Step);

INLINE V NAME(charge)(int kind, V x, V v, V tau, REAL rest) {
    switch (kind) {
    case DECAYED_DIVIDE: return v + (x - (v - rest)) / tau;
    case PLAIN_DIVIDE: return v - (v - rest) / tau + x;
    case DECAYED_MULTIPLY: return v + (x - (v - rest)) * tau;
    case PLAIN_MULTIPLY: return v - (v - rest) * tau + x;
    default: return v + x;
    }
}

INLINE V NAME(after)(int reset, M fired, V h, V threshold, REAL v_reset) {
    switch (reset) {
    case HARD: return NAME(either)(fired, NAME(all)(v_reset), h);
    case SOFT: return NAME(either)(fired, h - threshold, h);
    default: return h;
    }
}

/* The distance to the threshold companded into a byte, d / (|d| + width): 127 just below it, 128 and more fired. */
INLINE M NAME(encoded)(V d, M fired, REAL width) {
    V near = NAME(roughly_one_over)(NAME(size_of)(d) + width) * (width * (REAL)127.9);
    return __builtin_convertvector(near, M) ^ fired;
}

/* The middle of a code's cell, with the sign of the distance that was encoded. */
INLINE V NAME(decoded)(M code, REAL width) {
    V share = __builtin_convertvector(code, V) - (REAL)127.5;
    V m = NAME(roughly_one_over)(128 - NAME(size_of)(share)) * (128 * width) - width;
    return (V)((M)m | ((M)share & (M)NAME(all)((REAL)-0.0)));
}

INLINE void NAME(step_loop)(NAME(Block) *b, const NAME(Step) *step, int kind, int reset, int varying, int form) {
    NAME(Step) p = *step;
    V tau = NAME(all)(b->tau[0]), threshold = NAME(all)(b->th[0]), one = NAME(all)(1);
    for (int i = 0; i < p.fill; i += LINE) {
        __builtin_prefetch(p.next + i);
        M line[LINE / LANES];
#pragma GCC unroll 4
        for (int k = i; k < i + LINE; k += LANES) {
            if (varying) tau = NAME(load)(b->tau + k), threshold = NAME(load)(b->th + k);
            V h = NAME(charge)(kind, NAME(load)(p.x + k), NAME(load)(b->v + k), tau, p.rest);
            M fired = h >= threshold;
            if (form != MEMBRANES) NAME(put)(p.s + k, NAME(only)(fired, one), p.stream);
            if (form == MEMBRANES || form == BOTH) NAME(store)(p.h + k, h);
            NAME(store)(b->v + k, NAME(after)(reset, fired, h, threshold, p.v_reset));
            if (form == CODED_SPIKES) line[(k - i) / LANES] = NAME(encoded)(h - threshold, fired, p.width);
        }
        if (form == CODED_SPIKES) NAME(narrowed)(p.codes + i, line);
    }
}

#define RESETS(KIND, VARYING)                                                                                          \
    switch (reset) {                                                                                                   \
    case HARD: NAME(step_loop)(b, p, KIND, HARD, VARYING, form); return;                                               \
    case SOFT: NAME(step_loop)(b, p, KIND, SOFT, VARYING, form); return;                                               \
    default: NAME(step_loop)(b, p, KIND, NO_RESET, VARYING, form); return;                                             \
    }

/* One step of a block: charged membranes, spikes, membranes updated; ``form`` is a constant where this is expanded. */
INLINE void NAME(step_of)(NAME(Block) *b, const NAME(Step) *p, int kind, int reset, int varying, int form) {
    switch (kind + (varying ? 5 : 0)) {
    case DECAYED_DIVIDE: RESETS(DECAYED_DIVIDE, 0)
    case PLAIN_DIVIDE: RESETS(PLAIN_DIVIDE, 0)
    case NO_LEAK: RESETS(NO_LEAK, 0)
    case DECAYED_MULTIPLY: RESETS(DECAYED_MULTIPLY, 0)
    case PLAIN_MULTIPLY: RESETS(PLAIN_MULTIPLY, 0)
    case 5 + DECAYED_MULTIPLY: RESETS(DECAYED_MULTIPLY, 1)
    case 5 + PLAIN_MULTIPLY: RESETS(PLAIN_MULTIPLY, 1)
    default: RESETS(NO_LEAK, 1)
    }
}

static void NAME(step)(NAME(Block) *b, const NAME(Step) *p, int kind, int reset, int varying, int form) {
    switch (form) {
    case SPIKES: NAME(step_of)(b, p, kind, reset, varying, SPIKES); return;
    case CODED_SPIKES: NAME(step_of)(b, p, kind, reset, varying, CODED_SPIKES); return;
    case MEMBRANES: NAME(step_of)(b, p, kind, reset, varying, MEMBRANES); return;
    default: NAME(step_of)(b, p, kind, reset, varying, BOTH);
    }
}
#undef RESETS

/* Two bits a step, four steps a byte: spike, and inside the rectangle. */
static void NAME(pack)(NAME(Block) *b, const REAL *h, int fill, REAL alpha, int shift) {
    REAL half = 1 / (2 * alpha), threshold = b->th[0];
    INTEGER fired = (INTEGER)1 << shift, inside = (INTEGER)2 << shift;
    for (int i = 0; i < fill; i++) {
        REAL d = h[i] - threshold;
        REAL m = d < 0 ? -d : d;
        b->wide[i] = (d >= 0 ? fired : 0) + (m < half ? inside : 0);
    }
    for (int i = 0; i < fill; i++) b->codes[i] = (uint8_t)((shift ? b->codes[i] : 0) | b->wide[i]);
}

INLINE int NAME(kind)(const Setting *s) {
    if (s->charge == DECAYED_DIVIDE && power_of_two(s->tau)) return DECAYED_MULTIPLY;
    if (s->charge == PLAIN_DIVIDE && power_of_two(s->tau)) return PLAIN_MULTIPLY;
    return s->charge;
}

/* A row of ``fill`` numbers: the ``n`` from memory, or where there are none, and beyond them, one number. */
INLINE void NAME(fetch)(REAL *row, const void *base, int64_t start, int n, int fill, REAL number) {
    int given = base ? n : 0;
    if (base) memcpy(row, (const REAL *)base + start, (size_t)n * sizeof(REAL));
    for (int i = given; i < fill; i++) row[i] = number;
}

/* The constants that are the same in all blocks, and buffers without garbage. */
INLINE void NAME(prepare)(NAME(Block) *b, const Setting *s, int kind) {
    REAL tau = kind != s->charge ? (REAL)(1 / s->tau) : (REAL)s->tau;
    memset(b->x, 0, sizeof b->x);
    memset(b->gs, 0, sizeof b->gs);
    for (int i = 0; i < MAX_BLOCK; i++) b->tau[i] = tau, b->th[i] = (REAL)s->threshold;
}

/* A block's own constants and its membrane at the start; returns how many numbers to work on. */
INLINE int NAME(open)(NAME(Block) *b, const Setting *s, const Arrays *a, int64_t start, int n) {
    int fill = (n + LINE - 1) / LINE * LINE;
    if (a->decay) NAME(fetch)(b->tau, a->decay, start, n, fill, 1);
    if (a->threshold) NAME(fetch)(b->th, a->threshold, start, n, fill, 1);
    NAME(fetch)(b->v, a->v0, start, n, fill, s->reset == HARD ? (REAL)s->v_reset : 0);
    return fill;
}

INLINE int NAME(buffered)(int n, int dtype) { return dtype >= BF16 || n % LINE; }

INLINE const REAL *NAME(read)(const void *base, int64_t at, int n, int dtype, REAL *buffer) {
#if HALVES
    if (dtype >= BF16) {
        widen(buffer, (const uint16_t *)base + at, n, dtype);
        return buffer;
    }
#endif
    if (!NAME(buffered)(n, dtype)) return (const REAL *)base + at;
    memcpy(buffer, (const REAL *)base + at, (size_t)n * sizeof(REAL));
    return buffer;
}

/* Where a step is to write its row: in place, or a buffer that ``written`` then copies. */
INLINE REAL *NAME(target)(void *base, int64_t at, int n, int dtype, REAL *buffer) {
    return NAME(buffered)(n, dtype) ? buffer : (REAL *)base + at;
}

INLINE void NAME(written)(void *base, int64_t at, int n, int dtype, const REAL *row) {
#if HALVES
    if (dtype >= BF16) {
        narrow((uint16_t *)base + at, row, n, dtype);
        return;
    }
#endif
    if (NAME(buffered)(n, dtype)) memcpy((REAL *)base + at, row, (size_t)n * sizeof(REAL));
}

/* The row that a loop is to prefetch while it works; half formats ask for theirs at once. */
INLINE const REAL *NAME(ahead)(const void *base, int64_t at, int n, int dtype, const REAL *instead) {
    if (dtype < BF16) return (const REAL *)base + at;
    expect((const uint16_t *)base + at, n * 2);
    return instead;
}

/* x·scale + shift, in two roundings as a batch norm before the neuron would have it. */
INLINE const REAL *NAME(normed)(const REAL *x, const void *scale, const void *shift, int64_t start, int n,
                                REAL *restrict out) {
    const REAL *factor = (const REAL *)scale + start, *summand = (const REAL *)shift + start;
    for (int i = 0; i < n; i++) out[i] = x[i] * factor[i] + summand[i];
    return out;
}

static void NAME(forward)(const Setting *s, const Arrays *a, int64_t from, int64_t to) {
    NAME(Block) block __attribute__((aligned(64)));
    NAME(Block) *b = &block;
    int kind = NAME(kind)(s), varying = a->decay || a->threshold;
    NAME(Step) p = {.v_reset = (REAL)s->v_reset, .rest = s->reset == HARD ? (REAL)s->v_reset : 0};
    int form = s->save == CODE8 ? CODED_SPIKES : s->save == RECT2 ? BOTH : SPIKES;
    p.h = b->h;
    p.width = (REAL)s->width;
    NAME(prepare)(b, s, kind);
    for (int64_t start = from; start < to; start += MAX_BLOCK) {
        int n = (int)(to - start < MAX_BLOCK ? to - start : MAX_BLOCK);
        p.fill = NAME(open)(b, s, a, start, n);
        for (int64_t t = 0; t < s->steps; t++) {
            int64_t out_at = t * a->out_step + start;
            p.next = NAME(ahead)(a->x, t + 1 < s->steps ? (t + 1) * a->x_step + start : start + n, n, s->dtype, b->x);
            p.x = NAME(read)(a->x, t * a->x_step + start, n, s->dtype, b->x);
            if (a->scale) p.x = NAME(normed)(p.x, a->scale, a->shift, start, n, b->gs);
            p.s = NAME(target)(a->out, out_at, n, s->dtype, b->out);
            p.stream = s->stream && p.s != b->out && whole_lines(p.s);
            uint8_t *saved = s->save == EXACT ? 0 : a->saved + (s->save == CODE8 ? t : t / 4) * s->neurons + start;
            if (s->save == CODE8) p.codes = n % LINE ? b->codes : saved;
            NAME(step)(b, &p, kind, s->reset, varying, form);
            NAME(written)(a->out, out_at, n, s->dtype, b->out);
            if (s->save == CODE8 && p.codes != saved) memcpy(saved, b->codes, (size_t)n);
            if (s->save == RECT2) {
                NAME(pack)(b, b->h, p.fill, (REAL)s->alpha, (int)(t % 4) * 2);
                if (t % 4 == 3 || t + 1 == s->steps) memcpy(saved, b->codes, (size_t)n);
            }
        }
        if (a->last) memcpy((REAL *)a->last + start, b->v, (size_t)n * sizeof(REAL));
    }
}

/* One step backwards: charged membranes ``h`` (now, and before, NULL at the first step), slopes from wherever. */
typedef struct {
    const REAL *gs, *h, *h_before, *x, *next;
    const uint8_t *saved;
    const float *slopes, *levels;
    REAL *gx;
    int fill, stream, kind, reset, detach, shift;
    REAL rest, v_reset, threshold, fires_at, alpha;
} NAME(Back);

/* Contributions to ∂L/∂decay, which needs the membrane before the charge, and to ∂L/∂θ. */
INLINE void NAME(to_constants)(NAME(Block) *b, const NAME(Back) *p, int k, V h, V threshold, V slope, M fired, V gs,
                               V gv, V gh) {
    V v = NAME(load)(b->start + k);
    if (p->h_before) {
        V before = NAME(load)(p->h_before + k);
        v = NAME(after)(p->reset, before >= threshold, before, threshold, p->v_reset);
    }
    V leak = v - p->rest, by_spike = gs, by_reset = NAME(all)(0);
    V by_decay = p->kind == DECAYED_MULTIPLY ? NAME(load)(p->x + k) - leak : -leak;
    NAME(store)(b->gdecay + k, NAME(load)(b->gdecay + k) + gh * by_decay);
    if (!p->detach && p->reset == HARD) by_spike += gv * (p->v_reset - h);
    if (!p->detach && p->reset == SOFT) by_spike -= gv * threshold;
    if (p->reset == SOFT) by_reset = NAME(only)(fired, gv);
    NAME(store)(b->gthreshold + k, NAME(load)(b->gthreshold + k) - (by_spike * slope + by_reset));
}

/* gh = gs·σ' + gv·∂v/∂h, gx = gh·∂h/∂x, gv = gh·∂h/∂v. Where expanded, all after ``back`` are constants. */
INLINE void NAME(back_loop)(NAME(Block) *b, const NAME(Back) *back, int reset, int detach, int source, int surrogate) {
    NAME(Back) p = *back;
    int varying = source == FROM_ROWS, decayed = p.kind == DECAYED_DIVIDE || p.kind == DECAYED_MULTIPLY;
    int divide = p.kind == DECAYED_DIVIDE || p.kind == PLAIN_DIVIDE;
    V one = NAME(all)(1), threshold = NAME(all)(p.threshold), fires_at = NAME(all)(p.fires_at);
    V decay = NAME(all)(p.kind == NO_LEAK ? 0 : divide ? 1 / b->tau[0] : b->tau[0]);
    V by_input = decayed ? decay : one, by_membrane = 1 - decay;
    for (int i = 0; i < p.fill; i += LINE) {
        __builtin_prefetch(p.next + i);
#pragma GCC unroll 4
        for (int k = i; k < i + LINE; k += LANES) {
            V h = one, slope, gs = NAME(load)(p.gs + k), gv = NAME(load)(b->gv + k);
            M fired;
            if (varying) threshold = fires_at = NAME(load)(b->th + k);
            if (source == FROM_CODES) {
                M code = NAME(widened)(p.saved + k);
                fired = code > 127;
                slope = NAME(looked_up)(p.slopes, code);
                if (reset == HARD && !detach) h = NAME(looked_up)(p.levels, code);
            } else if (source == FROM_BITS) {
                M bits = NAME(widened)(p.saved + k) >> p.shift;
                fired = (bits & 1) != 0;
                slope = NAME(only)((bits & 2) != 0, NAME(all)(p.alpha));
            } else {
                h = NAME(load)(p.h + k);
                fired = h >= fires_at;
                slope = varying ? NAME(load)(b->slope + k) : NAME(slope)(h - fires_at, surrogate, p.alpha);
            }
            V through = reset == HARD ? NAME(only)(~fired, one) : one;
            if (!detach && reset == HARD) through += (p.v_reset - h) * slope;
            if (!detach && reset == SOFT) through -= threshold * slope;
            V gh = gs * slope + gv * through;
            if (varying) {
                if (p.x) NAME(to_constants)(b, &p, k, h, threshold, slope, fired, gs, gv, gh);
                decay = p.kind == NO_LEAK ? NAME(all)(0) : NAME(load)(b->tau + k);
                by_input = decayed ? decay : one, by_membrane = 1 - decay;
            }
            NAME(put)(p.gx + k, gh * by_input, p.stream);
            NAME(store)(b->gv + k, gh * by_membrane);
        }
    }
}

#define FORMS(SOURCE, SURROGATE)                                                                                       \
    if (p->reset == HARD && p->detach) NAME(back_loop)(b, p, HARD, 1, SOURCE, SURROGATE);                              \
    else if (p->reset == HARD) NAME(back_loop)(b, p, HARD, 0, SOURCE, SURROGATE);                                      \
    else if (p->reset == SOFT && !p->detach) NAME(back_loop)(b, p, SOFT, 0, SOURCE, SURROGATE);                        \
    else NAME(back_loop)(b, p, NO_RESET, 1, SOURCE, SURROGATE);                                                        \
    return;

static void NAME(back)(NAME(Block) *b, const NAME(Back) *p, int source, int surrogate) {
    if (source == FROM_ROWS) { FORMS(FROM_ROWS, 0) }
    if (source == FROM_CODES) { FORMS(FROM_CODES, 0) }
    if (source == FROM_BITS) { FORMS(FROM_BITS, 0) }
    switch (surrogate) {
    case SIGMOID: FORMS(FROM_MEMBRANE, SIGMOID)
    case ATAN: FORMS(FROM_MEMBRANE, ATAN)
    case PIECEWISE_QUADRATIC: FORMS(FROM_MEMBRANE, PIECEWISE_QUADRATIC)
    case PIECEWISE_EXP: FORMS(FROM_MEMBRANE, PIECEWISE_EXP)
    case SOFT_SIGN: FORMS(FROM_MEMBRANE, SOFT_SIGN)
    case SUPER_SPIKE: FORMS(FROM_MEMBRANE, SUPER_SPIKE)
    case ERF: FORMS(FROM_MEMBRANE, ERF)
    default: FORMS(FROM_MEMBRANE, RECT)
    }
}
#undef FORMS

INLINE void NAME(slope_loop)(NAME(Block) *b, const REAL *h, int fill, int kind, REAL a) {
    for (int k = 0; k < fill; k += LANES) {
        V d = NAME(load)(h + k) - NAME(load)(b->th + k);
        NAME(store)(b->slope + k, NAME(slope)(d, kind, a));
    }
}

static void NAME(slopes)(NAME(Block) *b, const REAL *h, int fill, int kind, REAL a) {
    switch (kind) {
    case SIGMOID: NAME(slope_loop)(b, h, fill, SIGMOID, a); return;
    case ATAN: NAME(slope_loop)(b, h, fill, ATAN, a); return;
    case PIECEWISE_QUADRATIC: NAME(slope_loop)(b, h, fill, PIECEWISE_QUADRATIC, a); return;
    case PIECEWISE_EXP: NAME(slope_loop)(b, h, fill, PIECEWISE_EXP, a); return;
    case SOFT_SIGN: NAME(slope_loop)(b, h, fill, SOFT_SIGN, a); return;
    case SUPER_SPIKE: NAME(slope_loop)(b, h, fill, SUPER_SPIKE, a); return;
    case ERF: NAME(slope_loop)(b, h, fill, ERF, a); return;
    default: NAME(slope_loop)(b, h, fill, RECT, a); return;
    }
}

/* Distances to the threshold, from codes. */
static const REAL *NAME(decode)(NAME(Block) *b, const uint8_t *codes, int fill, REAL width) {
    for (int k = 0; k < fill; k += LANES) NAME(store)(b->h + k, NAME(decoded)(NAME(widened)(codes + k), width));
    return b->h;
}

/* Charged membranes of a block at all steps into rows of ``charged``. */
static void NAME(recompute)(NAME(Block) *b, const Setting *s, const Arrays *a, int64_t start, int n, int fill, int kind,
                            REAL *charged, int64_t row) {
    NAME(Step) p = {.fill = fill, .v_reset = (REAL)s->v_reset, .rest = s->reset == HARD ? (REAL)s->v_reset : 0};
    int64_t last = s->steps - 1;
    for (int64_t t = 0; t <= last; t++) {
        if (t < last) p.next = NAME(ahead)(a->x, (t + 1) * a->x_step + start, n, s->dtype, b->x);
        else p.next = NAME(ahead)(a->grad_out, last * a->grad_step + start, n, s->dtype, b->x);
        p.x = NAME(read)(a->x, t * a->x_step + start, n, s->dtype, b->x);
        p.h = charged + t * row;
        NAME(step)(b, &p, kind, s->reset, a->decay || a->threshold, MEMBRANES);
    }
}

/* All steps of a block backwards. */
static void NAME(unroll)(NAME(Block) *b, const Setting *s, const Arrays *a, int64_t start, int n, int source,
                         NAME(Back) *p, const REAL *charged, int64_t row) {
    int needs_x = a->grad_decay || a->grad_threshold;
    for (int64_t t = s->steps - 1; t >= 0; t--) {
        int64_t out_at = t * a->out_step + start;
        if (t) p->next = NAME(ahead)(a->grad_out, (t - 1) * a->grad_step + start, n, s->dtype, b->x);
        else if (s->save == EXACT) p->next = NAME(ahead)(a->x, start + n, n, s->dtype, b->x);
        else p->next = NAME(ahead)(a->grad_out, (s->steps - 1) * a->grad_step + start + n, n, s->dtype, b->x);
        p->gs = NAME(read)(a->grad_out, t * a->grad_step + start, n, s->dtype, b->gs);
        p->h = charged + t * row;
        p->h_before = t ? p->h - row : 0;
        p->x = needs_x ? NAME(read)(a->x, t * a->x_step + start, n, s->dtype, b->x) : 0;
        if (source == FROM_ROWS) NAME(slopes)(b, p->h, p->fill, s->surrogate, p->alpha);
        if (s->save != EXACT) {
            p->saved = a->saved + (s->save == CODE8 ? t : t / 4) * s->neurons + start;
            p->shift = (int)(t % 4) * 2;
            if (n % LINE) p->saved = memcpy(b->codes, p->saved, (size_t)n);
        }
        if (s->save == CODE8 && source == FROM_MEMBRANE) p->h = NAME(decode)(b, p->saved, p->fill, (REAL)s->width);
        p->gx = NAME(target)(a->grad_x, out_at, n, s->dtype, b->out);
        p->stream = s->stream && p->gx != b->out && whole_lines(p->gx);
        NAME(back)(b, p, source, s->surrogate);
        NAME(written)(a->grad_x, out_at, n, s->dtype, b->out);
    }
}

/* Returns 1 where there is no memory for the membranes of a block. */
static int NAME(backward)(const Setting *s, const Arrays *a, int64_t from, int64_t to) {
    NAME(Block) block __attribute__((aligned(64)));
    NAME(Block) *b = &block;
    /* The recomputed membranes of a block stay near; rows shorter than a page cost more than the second-level cache. */
    int64_t size = 65536 / (int64_t)sizeof(REAL) / (s->steps > 0 ? s->steps : 1) / 64 * 64;
    size = size < 64 ? 64 : size > MAX_BLOCK || s->save != EXACT ? MAX_BLOCK : size;
    int64_t row = size + PAD;
    REAL *charged = s->save == EXACT ? aligned_alloc(64, (size_t)(s->steps * row) * sizeof(REAL)) : 0;
    if (s->save == EXACT && !charged) return 1;
    int varying = a->decay || a->threshold;
    int source = s->save == RECT2 ? FROM_BITS : a->slopes ? FROM_CODES : varying ? FROM_ROWS : FROM_MEMBRANE;
    NAME(Back) p = {.v_reset = (REAL)s->v_reset, .rest = s->reset == HARD ? (REAL)s->v_reset : 0,
                    .threshold = (REAL)s->threshold, .fires_at = (REAL)s->threshold, .alpha = (REAL)s->alpha,
                    .kind = NAME(kind)(s), .reset = s->reset, .detach = s->detach,
                    .slopes = a->slopes, .levels = a->levels};
    if (s->save == CODE8) p.v_reset -= p.threshold, p.fires_at = 0; /* codes tell the distance to the threshold */
    NAME(prepare)(b, s, p.kind);
    memset(b->codes, 0, sizeof b->codes);
    for (int64_t start = from; start < to; start += size) {
        int n = (int)(to - start < size ? to - start : size);
        p.fill = NAME(open)(b, s, a, start, n);
        memcpy(b->start, b->v, (size_t)p.fill * sizeof(REAL));
        memset(b->gdecay, 0, sizeof b->gdecay);
        memset(b->gthreshold, 0, sizeof b->gthreshold);
        if (s->save == EXACT) NAME(recompute)(b, s, a, start, n, p.fill, p.kind, charged, row);
        NAME(fetch)(b->gv, a->grad_last, start, n, p.fill, 0);
        NAME(unroll)(b, s, a, start, n, source, &p, charged, row);
        if (a->grad_v0) memcpy((REAL *)a->grad_v0 + start, b->gv, (size_t)n * sizeof(REAL));
        if (a->grad_decay) memcpy((REAL *)a->grad_decay + start, b->gdecay, (size_t)n * sizeof(REAL));
        if (a->grad_threshold) memcpy((REAL *)a->grad_threshold + start, b->gthreshold, (size_t)n * sizeof(REAL));
    }
    free(charged);
    return 0;
}
#undef INLINE
#undef LANES
#undef LINE
#undef V
#undef M
