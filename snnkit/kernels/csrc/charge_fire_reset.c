/* Charge, fire, reset over all time steps: the family of IF, LIF and parametric LIF.
 *
 * The equations and their order of operations are those of kernels/charge_fire_reset.py and the reference kernels, so
 * spikes are bit-equal (compile without contraction and without fast-math). A block of neurons stays in the first-level
 * cache while time advances; the backward recomputes the charged membranes from the input.
 *
 * All sequences are (T, N) with a step stride of their own, in elements. */
#include "rows.h"
#include <math.h>
#include <stdlib.h>

enum { DECAYED_DIVIDE, PLAIN_DIVIDE, NO_LEAK, DECAYED_MULTIPLY, PLAIN_MULTIPLY };
enum { HARD, SOFT, NO_RESET };
enum { SIGMOID, ATAN, PIECEWISE_QUADRATIC, PIECEWISE_EXP, SOFT_SIGN, SUPER_SPIKE, ERF, RECT };
enum { EXACT, CODE8, RECT2 };
enum { SPIKES, CODED_SPIKES, MEMBRANES, BOTH };           /* what a step forward writes */
enum { FROM_MEMBRANE, FROM_ROWS, FROM_CODES, FROM_BITS }; /* where a step backwards has its slopes from */
#define MAX_BLOCK 1024
/* Rows a multiple of 4096 bytes apart would be taken for one another by the processor's store buffer. */
#define PAD 80
#define PADDED (MAX_BLOCK + PAD)

typedef struct {
    int64_t steps, neurons;
    int32_t dtype, charge, reset, detach, surrogate, save, stream;
    double tau, threshold, v_reset, alpha, width;
} Setting;

typedef struct {
    const void *x, *v0;            /* input (T, N); start (N) or NULL at rest */
    int64_t x_step, out_step, grad_step;
    const void *decay, *threshold; /* (N) or NULL where the setting's number holds */
    void *out, *last;              /* spikes (T, N); last membrane (N) or NULL */
    uint8_t *saved;                /* (T, N) codes, or (T/4, N) bits */
    const void *grad_out, *grad_last;
    void *grad_x, *grad_v0, *grad_decay, *grad_threshold;
    const float *slopes, *levels;  /* by code: surrogate's derivative, membrane above threshold */
    const void *scale, *shift;     /* (N) or NULL: the forward's input is x·scale + shift */
} Arrays;

/* Whether 1/tau is exact, so that multiplying equals dividing. */
static int power_of_two(double tau) {
    int exponent;
    return frexp(tau, &exponent) == 0.5;
}

#define REAL float
#define NAME(x) x##_f32
#define INTEGER int32_t
#define MAGIC 12582912.0f
#define MANTISSA 23
#define BIAS 127
#define EXP_LOW -87.0f
#define EXP_HIGH 88.0f
#define HALVES 1
#include "lanes_real.h"
#include "charge_fire_reset_real.h"
#undef REAL
#undef NAME
#undef INTEGER
#undef MAGIC
#undef MANTISSA
#undef BIAS
#undef EXP_LOW
#undef EXP_HIGH
#undef HALVES
#define REAL double
#define NAME(x) x##_f64
#define INTEGER int64_t
#define MAGIC 6755399441055744.0
#define MANTISSA 52
#define BIAS 1023
#define EXP_LOW -708.0
#define EXP_HIGH 709.0
#define HALVES 0
#include "lanes_real.h"
#include "charge_fire_reset_real.h"

void snnkit_cfr_forward(const Setting *s, const Arrays *a, int64_t from, int64_t to) {
    s->dtype == F64 ? forward_f64(s, a, from, to) : forward_f32(s, a, from, to);
    finish_streaming();
}

/* Returns 1 where there is no memory for so many steps. */
int snnkit_cfr_backward(const Setting *s, const Arrays *a, int64_t from, int64_t to) {
    int failed = s->dtype == F64 ? backward_f64(s, a, from, to) : backward_f32(s, a, from, to);
    finish_streaming();
    return failed;
}
