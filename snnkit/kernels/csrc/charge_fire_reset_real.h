/* The loops for one type of numbers (REAL); included once per type by charge_fire_reset.c. */
#define INLINE static inline __attribute__((always_inline))

INLINE REAL NAME(exponential)(REAL x) {
    /* 2^n · e^r with |r| ≤ ln2/2; written out so that the compiler vectorises it. */
    const REAL ln2_high = sizeof(REAL) == 4 ? (REAL)0.693359375 : (REAL)6.93147180369123816490e-01;
    const REAL ln2_low = sizeof(REAL) == 4 ? (REAL)-2.12194440e-4 : (REAL)1.90821492927058770002e-10;
    x = x < (REAL)EXP_LOW ? (REAL)EXP_LOW : x;
    x = x > (REAL)EXP_HIGH ? (REAL)EXP_HIGH : x;
    REAL shifted = x * (REAL)1.4426950408889634 + (REAL)MAGIC;
    REAL n = shifted - (REAL)MAGIC;
    REAL r = (x - n * ln2_high) - n * ln2_low;
    REAL p;
    if (sizeof(REAL) == 4) {
        p = (REAL)(1.0 / 720);
    } else {
        p = (REAL)(1.0 / 6227020800.0);
        p = p * r + (REAL)(1.0 / 479001600.0);
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
    union {
        REAL real;
        INTEGER bits;
    } n_bits = {shifted}, magic = {(REAL)MAGIC}, scale;
    scale.bits = (n_bits.bits - magic.bits + BIAS) << MANTISSA;
    return p * scale.real;
}

/* The surrogate's derivative at distance d from the threshold; ``kind`` is a constant where this is expanded. */
INLINE REAL NAME(slope)(REAL d, int kind, REAL a) {
    REAL m = d < 0 ? -d : d, z;
    switch (kind) {
    case SIGMOID: z = 1 / (1 + NAME(exponential)(-a * d)); return a * z * (1 - z);
    case ATAN: z = d * (a * (REAL)1.57079632679489661923); return (a / 2) / (1 + z * z);
    case PIECEWISE_QUADRATIC: z = a - a * a * m; return z > 0 ? z : 0;
    case PIECEWISE_EXP: return a / 2 * NAME(exponential)(-a * m);
    case SOFT_SIGN: z = 1 / a + m; return 1 / (2 * a * z * z);
    case SUPER_SPIKE: z = 1 + m; return a / (z * z);
    case ERF: return a * (REAL)0.56418958354775628695 * NAME(exponential)(-a * a * d * d);
    default: return m < 1 / (2 * a) ? a : 0;
    }
}

INLINE void NAME(slope_loop)(const REAL *restrict h, const REAL *restrict th, REAL *restrict out, int n, int kind, REAL a) {
    for (int i = 0; i < n; i++) out[i] = NAME(slope)(h[i] - th[i], kind, a);
}

static void NAME(slopes)(const REAL *restrict h, const REAL *restrict th, REAL *restrict out, int n, int kind, REAL a) {
    switch (kind) {
    case SIGMOID: NAME(slope_loop)(h, th, out, n, SIGMOID, a); return;
    case ATAN: NAME(slope_loop)(h, th, out, n, ATAN, a); return;
    case PIECEWISE_QUADRATIC: NAME(slope_loop)(h, th, out, n, PIECEWISE_QUADRATIC, a); return;
    case PIECEWISE_EXP: NAME(slope_loop)(h, th, out, n, PIECEWISE_EXP, a); return;
    case SOFT_SIGN: NAME(slope_loop)(h, th, out, n, SOFT_SIGN, a); return;
    case SUPER_SPIKE: NAME(slope_loop)(h, th, out, n, SUPER_SPIKE, a); return;
    case ERF: NAME(slope_loop)(h, th, out, n, ERF, a); return;
    default: NAME(slope_loop)(h, th, out, n, RECT, a); return;
    }
}

INLINE REAL NAME(charge)(int kind, REAL x, REAL v, REAL tau, REAL rest) {
    switch (kind) {
    case DECAYED_DIVIDE: return v + (x - (v - rest)) / tau;
    case PLAIN_DIVIDE: return v - (v - rest) / tau + x;
    case DECAYED_MULTIPLY: return v + (x - (v - rest)) * tau;
    case PLAIN_MULTIPLY: return v - (v - rest) * tau + x;
    default: return v + x;
    }
}

/* One step of a block: charged membranes into h (may be NULL), spikes into s (may be NULL), membrane updated. */
INLINE void NAME(step_loop)(const REAL *restrict x, REAL *restrict v, REAL *restrict h_out, REAL *restrict s,
                            const REAL *restrict tau, const REAL *restrict th, REAL rest, REAL v_reset, int n,
                            int kind, int reset, int constant, int want_h, int want_s) {
    REAL tau0 = tau[0], th0 = th[0];
    for (int i = 0; i < n; i++) {
        REAL threshold = constant ? th0 : th[i];
        REAL h = NAME(charge)(kind, x[i], v[i], constant ? tau0 : tau[i], rest);
        int fired = h >= threshold;
        if (want_s) s[i] = fired ? (REAL)1 : (REAL)0;
        if (want_h) h_out[i] = h;
        v[i] = reset == NO_RESET ? h : reset == SOFT ? (fired ? h - threshold : h) : (fired ? v_reset : h);
    }
}

#define RESETS(KIND, CONSTANT)                                                                                         \
    switch (reset) {                                                                                                   \
    case HARD: NAME(step_loop)(x, v, h, s, tau, th, rest, v_reset, n, KIND, HARD, CONSTANT, want_h, want_s); break;     \
    case SOFT: NAME(step_loop)(x, v, h, s, tau, th, rest, v_reset, n, KIND, SOFT, CONSTANT, want_h, want_s); break;     \
    default: NAME(step_loop)(x, v, h, s, tau, th, rest, v_reset, n, KIND, NO_RESET, CONSTANT, want_h, want_s);          \
    }

INLINE void NAME(step_any)(const REAL *restrict x, REAL *restrict v, REAL *restrict h, REAL *restrict s,
                           const REAL *restrict tau, const REAL *restrict th, REAL rest, REAL v_reset, int n, int kind,
                           int reset, int constant, int want_h, int want_s) {
    switch (kind + (constant ? 0 : 5)) {
    case DECAYED_DIVIDE: RESETS(DECAYED_DIVIDE, 1) break;
    case PLAIN_DIVIDE: RESETS(PLAIN_DIVIDE, 1) break;
    case NO_LEAK: RESETS(NO_LEAK, 1) break;
    case DECAYED_MULTIPLY: RESETS(DECAYED_MULTIPLY, 1) break;
    case PLAIN_MULTIPLY: RESETS(PLAIN_MULTIPLY, 1) break;
    case 5 + DECAYED_MULTIPLY: RESETS(DECAYED_MULTIPLY, 0) break;
    case 5 + PLAIN_MULTIPLY: RESETS(PLAIN_MULTIPLY, 0) break;
    default: RESETS(NO_LEAK, 0) break;
    }
}

static void NAME(step_spikes)(const REAL *restrict x, REAL *restrict v, REAL *restrict s, const REAL *restrict tau,
                              const REAL *restrict th, REAL rest, REAL v_reset, int n, int kind, int reset, int constant) {
    REAL *h = 0;
    NAME(step_any)(x, v, h, s, tau, th, rest, v_reset, n, kind, reset, constant, 0, 1);
}

static void NAME(step_charged)(const REAL *restrict x, REAL *restrict v, REAL *restrict h, const REAL *restrict tau,
                               const REAL *restrict th, REAL rest, REAL v_reset, int n, int kind, int reset, int constant) {
    REAL *s = 0;
    NAME(step_any)(x, v, h, s, tau, th, rest, v_reset, n, kind, reset, constant, 1, 0);
}

static void NAME(step_both)(const REAL *restrict x, REAL *restrict v, REAL *restrict h, REAL *restrict s,
                            const REAL *restrict tau, const REAL *restrict th, REAL rest, REAL v_reset, int n, int kind,
                            int reset, int constant) {
    NAME(step_any)(x, v, h, s, tau, th, rest, v_reset, n, kind, reset, constant, 1, 1);
}

/* h − θ companded into a byte around the threshold: 128 and more fired. Decoded through tables made in Python. */
static void NAME(encode)(const REAL *restrict h, const REAL *restrict th, uint8_t *restrict out, int n, REAL width) {
    INTEGER codes[MAX_BLOCK];
    for (int i = 0; i < n; i++) {
        REAL d = h[i] - th[i];
        REAL m = d < 0 ? -d : d;
        m = m > (REAL)1e30 ? (REAL)1e30 : m;
        INTEGER level = (INTEGER)(m / (m + width) * 128);
        level = level > 127 ? 127 : level;
        codes[i] = d >= 0 ? 128 + level : 127 - level;
    }
    for (int i = 0; i < n; i++) out[i] = (uint8_t)codes[i]; /* a loop of its own: compilers vectorise one width at a time */
}

/* Two bits a step: spike, and inside the rectangle. */
static void NAME(pack)(const REAL *restrict h, const REAL *restrict th, uint8_t *restrict out, int n, REAL alpha, int shift) {
    REAL half = 1 / (2 * alpha);
    INTEGER bits[MAX_BLOCK];
    INTEGER fired = (INTEGER)1 << shift, inside = (INTEGER)2 << shift;
    for (int i = 0; i < n; i++) {
        REAL d = h[i] - th[i];
        REAL m = d < 0 ? -d : d;
        bits[i] = (d >= 0 ? fired : 0) + (m < half ? inside : 0);
    }
    if (!shift) memset(out, 0, (size_t)n);
    for (int i = 0; i < n; i++) out[i] |= (uint8_t)bits[i];
}

/* Slopes, and membranes that are at or below the threshold: all that a detached reset asks of them. */
static void NAME(unpack)(const uint8_t *restrict bits, const REAL *restrict th, REAL *restrict slope, REAL *restrict h, int n,
                         REAL alpha, int shift) {
    INTEGER wide[MAX_BLOCK];
    INTEGER fired = (INTEGER)1 << shift, inside = (INTEGER)2 << shift;
    for (int i = 0; i < n; i++) wide[i] = bits[i];
    for (int i = 0; i < n; i++) slope[i] = (wide[i] & inside) ? alpha : 0;
    for (int i = 0; i < n; i++) h[i] = (wide[i] & fired) ? th[i] : th[i] - 1;
}

/* The same from codes; a reset that is part of the graph needs the membrane itself. */
static void NAME(decode)(const uint8_t *restrict codes, const REAL *restrict th, REAL *restrict slope, REAL *restrict h, int n,
                         const float *restrict slopes, const float *restrict levels, int detach) {
    INTEGER wide[MAX_BLOCK];
    for (int i = 0; i < n; i++) wide[i] = codes[i];
    for (int i = 0; i < n; i++) slope[i] = (REAL)slopes[wide[i]];
    if (detach) {
        for (int i = 0; i < n; i++) h[i] = wide[i] >= 128 ? th[i] : th[i] - 1;
        return;
    }
    for (int i = 0; i < n; i++) h[i] = th[i] + (REAL)levels[wide[i]];
}

typedef struct {
    REAL tau[PADDED], th[PADDED], v[PADDED], row[PADDED], out[PADDED], slope[PADDED], gv[PADDED], gh[PADDED];
    REAL gdecay[PADDED], gthreshold[PADDED];
    uint8_t codes[MAX_BLOCK];
} NAME(Block);

INLINE int NAME(kind)(const Setting *s) {
    if (s->charge == DECAYED_DIVIDE && power_of_two(s->tau)) return DECAYED_MULTIPLY;
    if (s->charge == PLAIN_DIVIDE && power_of_two(s->tau)) return PLAIN_MULTIPLY;
    return s->charge;
}

/* Fill a block's constants and its membrane at the start. */
INLINE void NAME(open)(NAME(Block) *b, const Setting *s, const Arrays *a, int64_t start, int n, int kind) {
    REAL tau = kind != s->charge ? (REAL)(1 / s->tau) : (REAL)s->tau;
    REAL rest = s->reset == HARD ? (REAL)s->v_reset : 0;
    const REAL *decay = a->decay, *threshold = a->threshold, *v0 = a->v0;
    for (int i = 0; i < n; i++) {
        b->tau[i] = decay ? decay[start + i] : tau;
        b->th[i] = threshold ? threshold[start + i] : (REAL)s->threshold;
        b->v[i] = v0 ? v0[start + i] : rest;
    }
}

INLINE const REAL *NAME(read)(const void *base, int64_t at, int n, int dtype, REAL *buffer) {
#if HALVES
    if (dtype == BF16 || dtype == F16) {
        widen(buffer, (const uint16_t *)base + at, n, dtype);
        return buffer;
    }
#endif
    (void)dtype;
    (void)n;
    (void)buffer;
    return (const REAL *)base + at;
}

INLINE void NAME(write)(void *base, int64_t at, int n, int dtype, const REAL *row, int stream) {
#if HALVES
    if (dtype == BF16 || dtype == F16) {
        narrow((uint16_t *)base + at, row, n, dtype);
        return;
    }
#endif
    (void)dtype;
    copy_out((REAL *)base + at, row, (int64_t)n * (int64_t)sizeof(REAL), stream);
}

INLINE void NAME(ahead)(const void *base, int64_t at, int n, const Setting *s, int64_t to) {
    int64_t size = s->dtype >= BF16 ? 2 : (int64_t)sizeof(REAL);
    (void)to;
    expect((const char *)base + at * size, n * size);
}

/* x·scale + shift, in two roundings as a batch norm before the neuron would have it. */
INLINE const REAL *NAME(normed)(const REAL *restrict x, const REAL *restrict scale, const REAL *restrict shift, int n,
                                REAL *restrict out) {
    for (int i = 0; i < n; i++) out[i] = x[i] * scale[i] + shift[i];
    return out;
}

static void NAME(forward)(const Setting *s, const Arrays *a, int64_t from, int64_t to) {
    NAME(Block) block __attribute__((aligned(64)));
    NAME(Block) *b = &block;
    REAL charged[MAX_BLOCK] __attribute__((aligned(64)));
    int kind = NAME(kind)(s), constant = !a->decay && !a->threshold;
    REAL v_reset = (REAL)s->v_reset, rest = s->reset == HARD ? v_reset : 0;
    for (int64_t start = from; start < to; start += MAX_BLOCK) {
        int n = (int)(to - start < MAX_BLOCK ? to - start : MAX_BLOCK);
        NAME(open)(b, s, a, start, n, kind);
        for (int64_t t = 0; t < s->steps; t++) {
            NAME(ahead)(a->x, t + 1 < s->steps ? (t + 1) * a->x_step + start : start + n, n, s, to);
            const REAL *x = NAME(read)(a->x, t * a->x_step + start, n, s->dtype, b->row);
            if (a->scale) x = NAME(normed)(x, (const REAL *)a->scale + start, (const REAL *)a->shift + start, n, b->gh);
            if (s->save == EXACT) {
                NAME(step_spikes)(x, b->v, b->out, b->tau, b->th, rest, v_reset, n, kind, s->reset, constant);
            } else {
                NAME(step_both)(x, b->v, charged, b->out, b->tau, b->th, rest, v_reset, n, kind, s->reset, constant);
                if (s->save == CODE8) {
                    NAME(encode)(charged, b->th, b->codes, n, (REAL)s->width);
                    copy_out(a->saved + t * s->neurons + start, b->codes, n, s->stream);
                } else {
                    uint8_t *bits = a->saved + t / 4 * s->neurons + start;
                    NAME(pack)(charged, b->th, bits, n, (REAL)s->alpha, (int)(t % 4) * 2);
                }
            }
            NAME(write)(a->out, t * a->out_step + start, n, s->dtype, b->out, s->stream);
        }
        if (a->last) memcpy((REAL *)a->last + start, b->v, (size_t)n * sizeof(REAL));
    }
}

/* One step backwards: gx from gs, the slopes and the gradient that comes from later steps (gv, updated). */
INLINE void NAME(back_loop)(const REAL *restrict gs, const REAL *restrict slope, const REAL *restrict h,
                            const REAL *restrict th, REAL *restrict gv, REAL *restrict gh, int n, int reset, int detach,
                            REAL v_reset) {
    for (int i = 0; i < n; i++) {
        int fired = h[i] >= th[i];
        REAL through = reset == HARD && fired ? 0 : 1;
        if (!detach && reset != NO_RESET) through += (reset == HARD ? v_reset - h[i] : -th[i]) * slope[i];
        gh[i] = gs[i] * slope[i] + gv[i] * through;
    }
}

static void NAME(back)(const REAL *restrict gs, const REAL *restrict slope, const REAL *restrict h, const REAL *restrict th,
                       REAL *restrict gv, REAL *restrict gh, int n, int reset, int detach, REAL v_reset) {
    switch (reset * 2 + (detach ? 1 : 0)) {
    case HARD * 2: NAME(back_loop)(gs, slope, h, th, gv, gh, n, HARD, 0, v_reset); return;
    case HARD * 2 + 1: NAME(back_loop)(gs, slope, h, th, gv, gh, n, HARD, 1, v_reset); return;
    case SOFT * 2: NAME(back_loop)(gs, slope, h, th, gv, gh, n, SOFT, 0, v_reset); return;
    case SOFT * 2 + 1: NAME(back_loop)(gs, slope, h, th, gv, gh, n, SOFT, 1, v_reset); return;
    default: NAME(back_loop)(gs, slope, h, th, gv, gh, n, NO_RESET, 1, v_reset);
    }
}

/* The same with the surrogate inside and one decay for all: gx = gh·by_input, gv = gh·by_membrane. */
INLINE void NAME(fused_loop)(const REAL *restrict gs, const REAL *restrict h, REAL *restrict gv, REAL *restrict gx, int n,
                             int reset, int detach, int kind, REAL th, REAL v_reset, REAL a, REAL by_input,
                             REAL by_membrane) {
    for (int i = 0; i < n; i++) {
        REAL slope = NAME(slope)(h[i] - th, kind, a);
        REAL through = reset == HARD ? (h[i] >= th ? (REAL)0 : (REAL)1) : (REAL)1;
        if (!detach && reset != NO_RESET) through += (reset == HARD ? v_reset - h[i] : -th) * slope;
        REAL gh = gs[i] * slope + gv[i] * through;
        gx[i] = gh * by_input;
        gv[i] = gh * by_membrane;
    }
}

#define FUSED(NAME_, RESET, DETACH)                                                                                    \
    static void NAME(NAME_)(const REAL *restrict gs, const REAL *restrict h, REAL *restrict gv, REAL *restrict gx,     \
                            int n, int kind, REAL th, REAL v_reset, REAL a, REAL bx, REAL bv) {                        \
        switch (kind) {                                                                                                \
        case SIGMOID: NAME(fused_loop)(gs, h, gv, gx, n, RESET, DETACH, SIGMOID, th, v_reset, a, bx, bv); return;      \
        case ATAN: NAME(fused_loop)(gs, h, gv, gx, n, RESET, DETACH, ATAN, th, v_reset, a, bx, bv); return;            \
        case PIECEWISE_QUADRATIC:                                                                                      \
            NAME(fused_loop)(gs, h, gv, gx, n, RESET, DETACH, PIECEWISE_QUADRATIC, th, v_reset, a, bx, bv);            \
            return;                                                                                                    \
        case PIECEWISE_EXP:                                                                                            \
            NAME(fused_loop)(gs, h, gv, gx, n, RESET, DETACH, PIECEWISE_EXP, th, v_reset, a, bx, bv);                  \
            return;                                                                                                    \
        case SOFT_SIGN: NAME(fused_loop)(gs, h, gv, gx, n, RESET, DETACH, SOFT_SIGN, th, v_reset, a, bx, bv); return;  \
        case SUPER_SPIKE:                                                                                              \
            NAME(fused_loop)(gs, h, gv, gx, n, RESET, DETACH, SUPER_SPIKE, th, v_reset, a, bx, bv);                    \
            return;                                                                                                    \
        case ERF: NAME(fused_loop)(gs, h, gv, gx, n, RESET, DETACH, ERF, th, v_reset, a, bx, bv); return;              \
        default: NAME(fused_loop)(gs, h, gv, gx, n, RESET, DETACH, RECT, th, v_reset, a, bx, bv);                      \
        }                                                                                                              \
    }
FUSED(fused_hard, HARD, 0)
FUSED(fused_hard_detached, HARD, 1)
FUSED(fused_soft, SOFT, 0)
FUSED(fused_soft_detached, SOFT, 1)
FUSED(fused_none, NO_RESET, 1)
#undef FUSED

static void NAME(fused)(const REAL *restrict gs, const REAL *restrict h, REAL *restrict gv, REAL *restrict gx, int n,
                        const Setting *s, int charge, REAL tau) {
    REAL decay = charge == NO_LEAK ? 0 : charge == DECAYED_DIVIDE || charge == PLAIN_DIVIDE ? 1 / tau : tau;
    REAL bx = charge == DECAYED_DIVIDE || charge == DECAYED_MULTIPLY ? decay : 1, bv = 1 - decay;
    REAL th = (REAL)s->threshold, r = (REAL)s->v_reset, a = (REAL)s->alpha;
    int kind = s->surrogate;
    if (s->reset == HARD && !s->detach) NAME(fused_hard)(gs, h, gv, gx, n, kind, th, r, a, bx, bv);
    else if (s->reset == HARD) NAME(fused_hard_detached)(gs, h, gv, gx, n, kind, th, r, a, bx, bv);
    else if (s->reset == SOFT && !s->detach) NAME(fused_soft)(gs, h, gv, gx, n, kind, th, r, a, bx, bv);
    else if (s->reset == SOFT) NAME(fused_soft_detached)(gs, h, gv, gx, n, kind, th, r, a, bx, bv);
    else NAME(fused_none)(gs, h, gv, gx, n, kind, th, r, a, bx, bv);
}

/* gx = gh·∂h/∂x, gv = gh·∂h/∂v. */
static void NAME(spread)(const REAL *restrict gh, const REAL *restrict tau, REAL *restrict gx, REAL *restrict gv, int n,
                         int kind) {
    int decayed = kind == DECAYED_DIVIDE || kind == DECAYED_MULTIPLY;
    int divide = kind == DECAYED_DIVIDE || kind == PLAIN_DIVIDE;
    for (int i = 0; i < n; i++) {
        REAL decay = kind == NO_LEAK ? 0 : divide ? 1 / tau[i] : tau[i];
        gx[i] = decayed ? gh[i] * decay : gh[i];
        gv[i] = gh[i] * (1 - decay);
    }
}

/* Contributions to ∂L/∂decay (uses the membrane before the charge) and ∂L/∂θ. */
static void NAME(to_constants)(NAME(Block) *b, const REAL *restrict x, const REAL *restrict h, const REAL *restrict h_before,
                               const REAL *restrict v_start, const REAL *restrict gs, const REAL *restrict gv_late,
                               const REAL *restrict gh, int n, int kind, const Setting *s, REAL rest) {
    REAL v_reset = (REAL)s->v_reset;
    for (int i = 0; i < n; i++) {
        REAL v = v_start ? v_start[i] : 0;
        if (h_before) {
            REAL hb = h_before[i];
            int fired = hb >= b->th[i];
            v = s->reset == NO_RESET ? hb : s->reset == SOFT ? (fired ? hb - b->th[i] : hb) : (fired ? v_reset : hb);
        }
        REAL leak = v - rest;
        b->gdecay[i] += gh[i] * (kind == DECAYED_MULTIPLY ? x[i] - leak : -leak);
        REAL fired = h[i] >= b->th[i] ? 1 : 0;
        REAL by_spike = gs[i];
        if (!s->detach && s->reset == HARD) by_spike += gv_late[i] * (v_reset - h[i]);
        if (!s->detach && s->reset == SOFT) by_spike -= gv_late[i] * b->th[i];
        b->gthreshold[i] -= by_spike * b->slope[i] + (s->reset == SOFT ? gv_late[i] * fired : 0);
    }
}

static void NAME(backward)(const Setting *s, const Arrays *a, int64_t from, int64_t to) {
    NAME(Block) block __attribute__((aligned(64)));
    NAME(Block) *b = &block;
    /* The recomputed membranes of a block stay in the first-level cache, or the second for many steps. */
    int64_t size = 16384 / (s->steps > 0 ? s->steps : 1) / 64 * 64;
    size = size < 64 ? 64 : size > MAX_BLOCK ? MAX_BLOCK : size;
    REAL *charged = s->save == EXACT ? aligned_alloc(64, (size_t)(s->steps * (size + PAD)) * sizeof(REAL)) : 0;
    REAL gs_row[PADDED] __attribute__((aligned(64))), start_v[PADDED], late[PADDED], decoded[PADDED];
    int kind = NAME(kind)(s), constant = !a->decay && !a->threshold, constants = a->grad_decay || a->grad_threshold;
    REAL v_reset = (REAL)s->v_reset, rest = s->reset == HARD ? v_reset : 0;
    for (int64_t start = from; start < to; start += size) {
        int n = (int)(to - start < size ? to - start : size);
        NAME(open)(b, s, a, start, n, kind);
        memcpy(start_v, b->v, (size_t)n * sizeof(REAL));
        memset(b->gdecay, 0, sizeof b->gdecay);
        memset(b->gthreshold, 0, sizeof b->gthreshold);
        for (int64_t t = 0; s->save == EXACT && t < s->steps; t++) {
            if (t + 1 < s->steps) NAME(ahead)(a->x, (t + 1) * a->x_step + start, n, s, to);
            else NAME(ahead)(a->grad_out, (s->steps - 1) * a->grad_step + start, n, s, to);
            const REAL *x = NAME(read)(a->x, t * a->x_step + start, n, s->dtype, b->row);
            NAME(step_charged)(x, b->v, charged + t * (size + PAD), b->tau, b->th, rest, v_reset, n, kind, s->reset, constant);
        }
        if (a->grad_last) memcpy(b->gv, (const REAL *)a->grad_last + start, (size_t)n * sizeof(REAL));
        else memset(b->gv, 0, (size_t)n * sizeof(REAL));
        for (int64_t t = s->steps - 1; t >= 0; t--) {
            if (t) NAME(ahead)(a->grad_out, (t - 1) * a->grad_step + start, n, s, to);
            else if (s->save == EXACT) NAME(ahead)(a->x, start + n, n, s, to);
            const REAL *gs = NAME(read)(a->grad_out, t * a->grad_step + start, n, s->dtype, gs_row);
            const REAL *h = charged + t * (size + PAD);
            if (s->save == EXACT && constant) {
                NAME(fused)(gs, h, b->gv, b->out, n, s, kind, b->tau[0]);
                NAME(write)(a->grad_x, t * a->out_step + start, n, s->dtype, b->out, s->stream);
                continue;
            }
            if (s->save == EXACT) {
                NAME(slopes)(h, b->th, b->slope, n, s->surrogate, (REAL)s->alpha);
            } else if (s->save == CODE8) {
                const uint8_t *codes = a->saved + t * s->neurons + start;
                NAME(decode)(codes, b->th, b->slope, decoded, n, a->slopes, a->levels, s->detach || s->reset == NO_RESET);
                h = decoded;
            } else {
                const uint8_t *bits = a->saved + t / 4 * s->neurons + start;
                NAME(unpack)(bits, b->th, b->slope, decoded, n, (REAL)s->alpha, (int)(t % 4) * 2);
                h = decoded;
            }
            if (constants) memcpy(late, b->gv, (size_t)n * sizeof(REAL));
            NAME(back)(gs, b->slope, h, b->th, b->gv, b->gh, n, s->reset, s->detach, v_reset);
            NAME(spread)(b->gh, b->tau, b->out, b->gv, n, kind);
            if (constants) {
                const REAL *x = NAME(read)(a->x, t * a->x_step + start, n, s->dtype, b->row);
                NAME(to_constants)(b, x, h, t ? charged + (t - 1) * (size + PAD) : 0, start_v, gs, late, b->gh, n, kind, s, rest);
            }
            NAME(write)(a->grad_x, t * a->out_step + start, n, s->dtype, b->out, s->stream);
        }
        if (a->grad_v0) memcpy((REAL *)a->grad_v0 + start, b->gv, (size_t)n * sizeof(REAL));
        if (a->grad_decay) memcpy((REAL *)a->grad_decay + start, b->gdecay, (size_t)n * sizeof(REAL));
        if (a->grad_threshold) memcpy((REAL *)a->grad_threshold + start, b->gthreshold, (size_t)n * sizeof(REAL));
    }
    if (charged) free(charged);
}
#undef RESETS
#undef INLINE
