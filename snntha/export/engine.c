
/* The rest is the same for every network. */

#if defined(__GNUC__) && !defined(SNNTHA_PORTABLE)
#define count_ones(word) ((int32_t)__builtin_popcount(word))
#else
static int32_t count_ones(uint32_t word)
{
    word -= (word >> 1) & 0x55555555u;
    word = (word & 0x33333333u) + ((word >> 2) & 0x33333333u);
    word = (word + (word >> 4)) & 0x0F0F0F0Fu;
    return (int32_t)((word * 0x01010101u) >> 24);
}
#endif

/* value / 2^shift, rounded to the nearest, halves up; C leaves open what >> does with a negative number. */
static int32_t round_shift(int32_t value, unsigned shift)
{
    value += (int32_t)((1u << shift) >> 1);
    return value < 0 ? ~(~value >> shift) : value >> shift;
}

/* value * 2^shift of a negative number, too. */
static int32_t left_shift(int32_t value, unsigned shift)
{
    return (int32_t)((uint32_t)value << shift);
}

/* `count` bits from bit `first` on; there is a word behind the last one. */
static uint32_t read_bits(const uint32_t *words, unsigned first, unsigned count)
{
    const uint32_t *word = words + first / 32;
    unsigned shift = first % 32;
    uint32_t bits = shift ? (word[0] >> shift) | (word[1] << (32 - shift)) : word[0];
    return count < 32 ? bits & ((1u << count) - 1u) : bits;
}

/* Set bits that were zero. */
static void write_bits(uint32_t *words, unsigned first, unsigned count, uint32_t bits)
{
    uint32_t *word = words + first / 32;
    unsigned shift = first % 32;
    word[0] |= bits << shift;
    if (shift + count > 32)
        word[1] |= bits >> (32 - shift);
}

/* Sum of +1 and -1 where the input has ones: twice those that agree, minus all of them. */
static int32_t signed_sum(const uint32_t *weight, const uint32_t *input, unsigned words, int32_t ones)
{
    int32_t agree = 0;
    unsigned i;
    for (i = 0; i < words; i++)
        agree += count_ones(weight[i] & input[i]);
    return 2 * agree - ones;
}

static int32_t ones_of(const uint32_t *input, unsigned words)
{
    int32_t ones = 0;
    unsigned i;
    for (i = 0; i < words; i++)
        ones += count_ones(input[i]);
    return ones;
}

/* What a neuron integrates, of the sum of its weights. */
static int32_t scaled(const struct layer *l, unsigned neuron, int32_t sum)
{
    unsigned unit = neuron / l->per_unit;
    return round_shift(left_shift(sum, l->left[unit]) + l->bias[neuron / l->per_bias], l->right[unit]);
}

/* One time step of one neuron. */
static void fire(const struct layer *l, unsigned neuron, int32_t current)
{
    int32_t before = l->membrane[neuron], u = before;
    int32_t threshold = l->threshold[neuron / l->per_unit];
    uint32_t bit = 1u << (neuron % 32);
    uint32_t *fired = l->fired + neuron / 32;
    unsigned i;
    for (i = 0; i < l->leaks; i++)
        u -= l->leak_sign[i] * round_shift(before, l->leak_shift[i]);
    u += current;
    if (*fired & bit)
        u -= threshold;
    if (u < MEMBRANE_MIN)
        u = MEMBRANE_MIN;
    if (u > MEMBRANE_MAX)
        u = MEMBRANE_MAX;
    l->membrane[neuron] = (membrane_t)u;
    if (u >= threshold + STRICT)
        *fired |= bit;
    else
        *fired &= ~bit;
}

/* Currents go to the neurons, or of a picture into `kept`. */
static void deliver(const struct layer *l, unsigned neuron, int32_t sum, int32_t *kept)
{
    if (kept)
        kept[neuron] = scaled(l, neuron, sum);
    else
        fire(l, neuron, scaled(l, neuron, sum));
}

static void dense(const struct layer *l, const uint32_t *input, unsigned planes, int32_t *kept)
{
    unsigned words = (l->inputs + 31) / 32, plane, n;
    int32_t ones[PLANES];
    for (plane = 0; plane < planes; plane++)
        ones[plane] = ones_of(input + plane * (words + 1), words);
    for (n = 0; n < l->out_channels; n++) {
        int32_t sum = 0;
        for (plane = 0; plane < planes; plane++)
            sum += left_shift(signed_sum(l->weight + n * words, input + plane * (words + 1), words, ones[plane]), plane);
        deliver(l, n, sum, kept);
    }
}

static void convolve(const struct layer *l, const uint32_t *input, unsigned planes, int32_t *kept)
{
    unsigned taps = l->in_channels * l->kernel * l->kernel, words = (taps + 31) / 32;
    unsigned stride = (l->inputs + 31) / 32 + 1;
    unsigned oy, ox, y, x, c, ky, o, plane, i;
    for (oy = 0; oy < l->out_height; oy++)
        for (ox = 0; ox < l->out_width; ox++) {
            for (o = 0; o < l->out_channels; o++)
                channel_sums[o] = 0;
            for (y = oy * l->pool; y < (oy + 1) * l->pool; y++)
                for (x = ox * l->pool; x < (ox + 1) * l->pool; x++)
                    for (plane = 0; plane < planes; plane++) {
                        unsigned position = 0;
                        int32_t ones;
                        for (i = 0; i <= words; i++)
                            patch[i] = 0;
                        for (c = 0; c < l->in_channels; c++)
                            for (ky = 0; ky < l->kernel; ky++, position += l->kernel) {
                                unsigned first = (c * l->in_height + y + ky) * l->in_width + x;
                                uint32_t bits = read_bits(input + plane * stride, first, l->kernel);
                                write_bits(patch, position, l->kernel, bits);
                            }
                        ones = ones_of(patch, words);
                        if (ones)
                            for (o = 0; o < l->out_channels; o++)
                                channel_sums[o] += left_shift(signed_sum(l->weight + o * words, patch, words, ones), plane);
                    }
            for (o = 0; o < l->out_channels; o++)
                deliver(l, (o * l->out_height + oy) * l->out_width + ox, channel_sums[o], kept);
        }
}

static void run_layer(const struct layer *l, const uint32_t *input, unsigned planes, int32_t *kept)
{
    if (l->kernel)
        convolve(l, input, planes, kept);
    else
        dense(l, input, planes, kept);
}

/* Bit `plane` of every value becomes a bit of that plane. */
static void load_planes(const uint8_t *values)
{
    unsigned words = (SNNTHA_INPUTS + 31) / 32 + 1, plane, i;
    for (i = 0; i < PLANES * words; i++)
        input_planes[i] = 0;
    for (i = 0; i < SNNTHA_INPUTS; i++)
        for (plane = 0; plane < PLANES; plane++)
            if (values[i] >> plane & 1)
                input_planes[plane * words + i / 32] |= 1u << (i % 32);
}

void snntha_reset(void)
{
    unsigned number, i;
    for (number = 0; number < SNNTHA_LAYERS; number++) {
        for (i = 0; i < layers[number].neurons; i++)
            layers[number].membrane[i] = 0;
        for (i = 0; i < (layers[number].neurons + 31) / 32; i++)
            layers[number].fired[i] = 0;
    }
    for (i = 0; i < SNNTHA_CLASSES; i++)
        snntha_count[i] = 0;
}

#ifdef SNNTHA_IMAGE
void snntha_image(const uint8_t *grey)
{
    snntha_reset();
    load_planes(grey);
    run_layer(&layers[0], input_planes, PLANES, image_currents);
}
#endif

#ifdef SNNTHA_IMAGE
void snntha_step(void)
#else
void snntha_step(const uint8_t *counts)
#endif
{
    unsigned number, i;
#ifdef SNNTHA_IMAGE
    for (i = 0; i < layers[0].neurons; i++)
        fire(&layers[0], i, image_currents[i]);
#else
    load_planes(counts);
    run_layer(&layers[0], input_planes, PLANES, 0);
#endif
    for (number = 1; number < SNNTHA_LAYERS; number++)
        run_layer(&layers[number], layers[number - 1].fired, 1, 0);
    for (i = 0; i < SNNTHA_CLASSES; i++)
        snntha_count[i] += layers[SNNTHA_LAYERS - 1].fired[i / 32] >> (i % 32) & 1;
}

const uint32_t *snntha_spikes(unsigned layer)
{
    return layers[layer].fired;
}

unsigned snntha_class(void)
{
    unsigned best = 0, i;
    for (i = 1; i < SNNTHA_CLASSES; i++)
        if (snntha_count[i] > snntha_count[best])
            best = i;
    return best;
}

#ifdef SNNTHA_MAIN
/* For tests: samples from standard input, spikes of every layer and step, then counts, to standard output. */
#include <stdio.h>

int main(void)
{
    static uint8_t values[SNNTHA_INPUTS];
    unsigned t, number;
#ifdef SNNTHA_IMAGE
    while (fread(values, 1, sizeof values, stdin) == sizeof values) {
        snntha_image(values);
        for (t = 0; t < SNNTHA_STEPS; t++) {
            snntha_step();
#else
    while (fread(values, 1, sizeof values, stdin) == sizeof values) {
        snntha_reset();
        for (t = 0; t < SNNTHA_STEPS; t++) {
            if (t && fread(values, 1, sizeof values, stdin) != sizeof values)
                return 1;
            snntha_step(values);
#endif
            for (number = 0; number < SNNTHA_LAYERS; number++)
                fwrite(snntha_spikes(number), 4, (layers[number].neurons + 31) / 32, stdout);
        }
    }
    return ferror(stdin) || fflush(stdout);
}
#endif
