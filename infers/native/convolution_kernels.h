/* Convolutions for one instruction set. Included once for each, with these macros:
 *   LANES      floats in a vector register
 *   ROWS       rows of a register tile of the matrix product: 2 * ROWS accumulators must fit in the registers
 *   NAMED(f)   the name of f for this instruction set
 * Activations lie as (slices, rows, columns, channels); channels are multiples of LANES.
 */

typedef float NAMED(vec) __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int NAMED(bits) __attribute__((vector_size(LANES * 4), may_alias));
#define vec NAMED(vec)

static inline vec NAMED(load)(const float *from) { return *(const vec *)from; }
static inline void NAMED(store)(float *to, vec value) { *(vec *)to = value; }
static inline vec NAMED(all)(float value) { return value - (vec){0}; }
static inline vec NAMED(at_least_0)(vec value) { return (vec)((NAMED(bits))value & ~(value < 0.0f)); }
#define load NAMED(load)
#define store NAMED(store)
#define all NAMED(all)

/* (rows x depth) times (depth x WIDTH * LANES), the latter packed; `start` holds one row to begin with, or NULL. */
#define PRODUCT(name, HEIGHT, WIDTH)                                                                              \
    static inline __attribute__((always_inline)) void name(const float *left, int64_t left_step,                  \
                                                           const float *right, int64_t depth, const float *start, \
                                                           float *out, int64_t out_step) {                        \
        vec sum[HEIGHT][WIDTH];                                                                                   \
        _Pragma("GCC unroll 16") for (int i = 0; i < HEIGHT; i++)                                                 \
            _Pragma("GCC unroll 2") for (int j = 0; j < WIDTH; j++)                                               \
                sum[i][j] = start ? load(start + j * LANES) : (vec){0};                                           \
        for (int64_t k = 0; k < depth; k++) {                                                                     \
            vec row[WIDTH];                                                                                       \
            _Pragma("GCC unroll 2") for (int j = 0; j < WIDTH; j++)                                               \
                row[j] = load(right + (k * WIDTH + j) * LANES);                                                   \
            _Pragma("GCC unroll 16") for (int i = 0; i < HEIGHT; i++) {                                           \
                vec factor = all(left[i * left_step + k]);                                                        \
                _Pragma("GCC unroll 2") for (int j = 0; j < WIDTH; j++) sum[i][j] += factor * row[j];             \
            }                                                                                                     \
        }                                                                                                         \
        _Pragma("GCC unroll 16") for (int i = 0; i < HEIGHT; i++)                                                 \
            _Pragma("GCC unroll 2") for (int j = 0; j < WIDTH; j++)                                               \
                store(out + i * out_step + j * LANES, sum[i][j]);                                                 \
    }

PRODUCT(NAMED(product_tall_2), ROWS, 2)
PRODUCT(NAMED(product_flat_2), 1, 2)
PRODUCT(NAMED(product_tall_1), ROWS, 1)
PRODUCT(NAMED(product_flat_1), 1, 1)

static void NAMED(product)(const float *left, int64_t left_step, int64_t rows, const float *right, int64_t depth,
                           int width, const float *start, float *out, int64_t out_step) {
    int64_t row = 0;
    if (width == 2) {
        for (; row + ROWS <= rows; row += ROWS)
            NAMED(product_tall_2)(left + row * left_step, left_step, right, depth, start, out + row * out_step, out_step);
        for (; row < rows; row++)
            NAMED(product_flat_2)(left + row * left_step, left_step, right, depth, start, out + row * out_step, out_step);
    } else {
        for (; row + ROWS <= rows; row += ROWS)
            NAMED(product_tall_1)(left + row * left_step, left_step, right, depth, start, out + row * out_step, out_step);
        for (; row < rows; row++)
            NAMED(product_flat_1)(left + row * left_step, left_step, right, depth, start, out + row * out_step, out_step);
    }
}

/* Winograd's F(4 x 4, 3 x 3) with the points 0, +-a, +-b and infinity, a = 1 / sqrt 2, b = sqrt 2: their rounding
 * error is half that of the usual 0, +-1, +-2 (Barabasz et al. 2020, "Error analysis and improving the accuracy of
 * Winograd convolution for deep neural networks"). */

static inline __attribute__((always_inline)) void NAMED(image_points)(const vec d[6], vec t[6]) {
    vec even = d[4] - 2.0f * d[2], odd = POINT_A * (d[3] - 2.0f * d[1]);
    t[0] = d[0] - 2.5f * d[2] + d[4];
    t[1] = even + odd;
    t[2] = even - odd;
    even = d[4] - 0.5f * d[2], odd = POINT_B * (d[3] - 0.5f * d[1]);
    t[3] = even + odd;
    t[4] = even - odd;
    t[5] = d[1] - 2.5f * d[3] + d[5];
}

static inline __attribute__((always_inline)) void NAMED(weight_points)(const vec g[3], vec t[6]) {
    vec even = g[0] + 0.5f * g[2], odd = POINT_A * g[1];
    t[0] = g[0];
    t[1] = (even + odd) * (-1.0f / 1.5f);
    t[2] = (even - odd) * (-1.0f / 1.5f);
    even = g[0] + 2.0f * g[2], odd = POINT_B * g[1];
    t[3] = (even + odd) * (1.0f / 6.0f);
    t[4] = (even - odd) * (1.0f / 6.0f);
    t[5] = g[2];
}

static inline __attribute__((always_inline)) void NAMED(result_points)(const vec m[6], vec y[4]) {
    vec sum_a = m[1] + m[2], less_a = m[1] - m[2], sum_b = m[3] + m[4], less_b = m[3] - m[4];
    y[0] = m[0] + sum_a + sum_b;
    y[1] = POINT_A * less_a + POINT_B * less_b;
    y[2] = 0.5f * sum_a + 2.0f * sum_b;
    y[3] = (0.5f * POINT_A) * less_a + (2.0f * POINT_B) * less_b + m[5];
}

/* 6 x 6 vectors to the 36 points, written `step` floats apart. */
static inline __attribute__((always_inline)) void NAMED(write_image_points)(vec patch[6][6], float *points,
                                                                            int64_t step) {
    vec half[6][6];
    _Pragma("GCC unroll 6") for (int column = 0; column < 6; column++) {
        vec down[6], turned[6];
        _Pragma("GCC unroll 6") for (int row = 0; row < 6; row++) down[row] = patch[row][column];
        NAMED(image_points)(down, turned);
        _Pragma("GCC unroll 6") for (int row = 0; row < 6; row++) half[row][column] = turned[row];
    }
    _Pragma("GCC unroll 6") for (int row = 0; row < 6; row++) {
        vec turned[6];
        NAMED(image_points)(half[row], turned);
        _Pragma("GCC unroll 6") for (int column = 0; column < 6; column++, points += step)
            store(points, turned[column]);
    }
}

/* Points of one tile of an image; outside of the image lies 0. */
static __attribute__((noinline)) void NAMED(plain_points)(const float *image, int64_t height, int64_t width, int64_t channels, int64_t tile_row,
                                int64_t tile_column, const float *zeros, float *points, int64_t step) {
    const float *from[6][6];
    for (int row = 0; row < 6; row++)
        for (int column = 0; column < 6; column++) {
            int64_t y = 4 * tile_row - 1 + row, x = 4 * tile_column - 1 + column;
            int inside = y >= 0 && y < height && x >= 0 && x < width;
            from[row][column] = inside ? image + (y * width + x) * channels : zeros;
        }
    for (int64_t channel = 0; channel < channels; channel += LANES) {
        vec patch[6][6];
        KEEP_IN_REGISTER(step);
        _Pragma("GCC unroll 6") for (int row = 0; row < 6; row++)
            _Pragma("GCC unroll 6") for (int column = 0; column < 6; column++)
                patch[row][column] = load(from[row][column] + channel);
        NAMED(write_image_points)(patch, points + channel, step);
    }
}

/* The same of an image at half the size, doubled by bilinear interpolation on the way (align_corners=False). */
static __attribute__((noinline)) void NAMED(doubled_points)(const float *image, int64_t height, int64_t width, int64_t channels,
                                  int64_t tile_row, int64_t tile_column, float *points, int64_t step) {
    int64_t low_height = height / 2, low_width = width / 2;
    const float *from[4][4];
    for (int row = 0; row < 4; row++)
        for (int column = 0; column < 4; column++) {
            int64_t y = 2 * tile_row - 1 + row, x = 2 * tile_column - 1 + column;
            y = y < 0 ? 0 : y >= low_height ? low_height - 1 : y;
            x = x < 0 ? 0 : x >= low_width ? low_width - 1 : x;
            from[row][column] = image + (y * low_width + x) * channels;
        }
    int first_row = tile_row == 0, last_row = 4 * tile_row + 4 == height;
    int first_column = tile_column == 0, last_column = 4 * tile_column + 4 == width;
    for (int64_t channel = 0; channel < channels; channel += LANES) {
        vec wide[4][6], patch[6][6];
        KEEP_IN_REGISTER(step);
        _Pragma("GCC unroll 4") for (int row = 0; row < 4; row++) {
            vec low[4];
            _Pragma("GCC unroll 4") for (int column = 0; column < 4; column++)
                low[column] = load(from[row][column] + channel);
            _Pragma("GCC unroll 3") for (int pair = 0; pair < 3; pair++) {
                wide[row][2 * pair] = 0.75f * low[pair] + 0.25f * low[pair + 1];
                wide[row][2 * pair + 1] = 0.25f * low[pair] + 0.75f * low[pair + 1];
            }
        }
        _Pragma("GCC unroll 6") for (int column = 0; column < 6; column++)
            _Pragma("GCC unroll 3") for (int pair = 0; pair < 3; pair++) {
                patch[2 * pair][column] = 0.75f * wide[pair][column] + 0.25f * wide[pair + 1][column];
                patch[2 * pair + 1][column] = 0.25f * wide[pair][column] + 0.75f * wide[pair + 1][column];
            }
        for (int i = 0; i < 6; i++) {
            if (first_row) patch[0][i] = (vec){0};
            if (last_row) patch[5][i] = (vec){0};
            if (first_column) patch[i][0] = (vec){0};
            if (last_column) patch[i][5] = (vec){0};
        }
        NAMED(write_image_points)(patch, points + channel, step);
    }
}

/* Points of the weights of one block of `lanes` output channels: (9, channels, lanes) to (36, channels, lanes). */
void NAMED(transform_weights)(const float *weights, int64_t channels, int64_t lanes, float *points) {
    int64_t step = channels * lanes;
    for (int64_t at = 0; at < step; at += LANES) {
        vec half[6][3];
        _Pragma("GCC unroll 3") for (int column = 0; column < 3; column++) {
            vec down[3], turned[6];
            _Pragma("GCC unroll 3") for (int row = 0; row < 3; row++)
                down[row] = load(weights + (row * 3 + column) * step + at);
            NAMED(weight_points)(down, turned);
            _Pragma("GCC unroll 6") for (int row = 0; row < 6; row++) half[row][column] = turned[row];
        }
        _Pragma("GCC unroll 6") for (int row = 0; row < 6; row++) {
            vec turned[6];
            NAMED(weight_points)(half[row], turned);
            _Pragma("GCC unroll 6") for (int column = 0; column < 6; column++)
                store(points + (row * 6 + column) * step + at, turned[column]);
        }
    }
}

/* scale * max(value + bias, 0) + shift: ReLU, then batch normalisation. */
#define FINISHED(value, at) (load(scale + (at)) * NAMED(at_least_0)((value) + load(bias + (at))) + load(shift + (at)))

/* The 4 x 4 pixels of one tile from its 36 products, and optionally their 2 x 2 averages. */
#define WRITE_RESULT(name, WIDTH)                                                                                 \
    static __attribute__((noinline)) void name(const float *products, const float *bias, const float *scale,      \
                                               const float *shift, float *out, int64_t row_step,                  \
                                               int64_t column_step, float *pooled) {                              \
        for (int64_t lane = 0; lane < WIDTH * LANES; lane += LANES) {                                             \
            vec half[6][4], result[4][4];                                                                         \
            _Pragma("GCC unroll 6") for (int row = 0; row < 6; row++) {                                           \
                vec across[6];                                                                                    \
                _Pragma("GCC unroll 6") for (int column = 0; column < 6; column++)                                \
                    across[column] = load(products + (row * 6 + column) * WIDTH * LANES + lane);                  \
                NAMED(result_points)(across, half[row]);                                                          \
            }                                                                                                     \
            _Pragma("GCC unroll 4") for (int column = 0; column < 4; column++) {                                  \
                vec down[6], turned[4];                                                                           \
                _Pragma("GCC unroll 6") for (int row = 0; row < 6; row++) down[row] = half[row][column];          \
                NAMED(result_points)(down, turned);                                                               \
                _Pragma("GCC unroll 4") for (int row = 0; row < 4; row++) {                                       \
                    result[row][column] = FINISHED(turned[row], lane);                                            \
                    store(out + row * row_step + column * column_step + lane, result[row][column]);               \
                }                                                                                                 \
            }                                                                                                     \
            if (pooled)                                                                                           \
                _Pragma("GCC unroll 2") for (int row = 0; row < 2; row++)                                         \
                    _Pragma("GCC unroll 2") for (int column = 0; column < 2; column++)                            \
                        store(pooled + row * row_step / 2 + column * column_step + lane,                          \
                              0.25f * (result[2 * row][2 * column] + result[2 * row][2 * column + 1] +            \
                                       result[2 * row + 1][2 * column] + result[2 * row + 1][2 * column + 1]));   \
        }                                                                                                         \
    }

WRITE_RESULT(NAMED(write_result_2), 2)
WRITE_RESULT(NAMED(write_result_1), 1)

/* 3 x 3 convolution, zero padding, ReLU, batch normalisation; optionally also the 2 x 2 average of the result.
 * `doubled` is an image at half the size (or NULL) and comes first among the channels, `plain` one at full size. */
void NAMED(convolve_3x3)(const float *doubled, int64_t doubled_channels, const float *plain, int64_t plain_channels,
                         int64_t slices, int64_t height, int64_t width, const float *weights, int transformed,
                         const float *bias, const float *scale, const float *shift, int64_t out_channels, float *out,
                         float *pooled, int64_t tile_block, float *scratch) {
    const int64_t channels = doubled_channels + plain_channels;
    const int vectors = out_channels % (2 * LANES) ? 1 : 2;
    const int64_t lanes = vectors * LANES;
    const int64_t row_step = channels + 16; /* rows a power of two apart would share cache sets */
    const int64_t point_step = tile_block * row_step;
    const int64_t tile_rows = height / 4, tile_columns = width / 4, tiles = slices * tile_rows * tile_columns;
    float *zeros = scratch, *points = zeros + channels, *products = points + 36 * point_step;
    float *own_weights = products + 36 * tile_block * lanes;
    for (int64_t channel = 0; channel < channels; channel++) zeros[channel] = 0;
    for (int64_t first = 0; first < tiles; first += tile_block) {
        const int64_t count = tiles - first < tile_block ? tiles - first : tile_block;
        for (int64_t index = 0; index < count; index++) {
            const int64_t tile = first + index, slice = tile / (tile_rows * tile_columns);
            const int64_t tile_row = tile / tile_columns % tile_rows, tile_column = tile % tile_columns;
            float *to = points + index * row_step;
            if (doubled_channels)
                NAMED(doubled_points)(doubled + slice * (height / 2) * (width / 2) * doubled_channels, height, width,
                                      doubled_channels, tile_row, tile_column, to, point_step);
            if (plain_channels)
                NAMED(plain_points)(plain + slice * height * width * plain_channels, height, width, plain_channels,
                                    tile_row, tile_column, zeros, to + doubled_channels, point_step);
        }
        for (int64_t block = 0; block < out_channels; block += lanes) {
            const float *right = weights + block * channels * (transformed ? 36 : 9);
            if (!transformed) {
                NAMED(transform_weights)(right, channels, lanes, own_weights);
                right = own_weights;
            }
            for (int point = 0; point < 36; point++)
                NAMED(product)(points + point * point_step, row_step, count, right + point * channels * lanes, channels,
                               vectors, 0, products + point * lanes, 36 * lanes);
            for (int64_t index = 0; index < count; index++) {
                const int64_t tile = first + index, slice = tile / (tile_rows * tile_columns);
                const int64_t tile_row = tile / tile_columns % tile_rows, tile_column = tile % tile_columns;
                const int64_t corner = (slice * height + 4 * tile_row) * width + 4 * tile_column;
                const int64_t pooled_corner = (slice * height / 2 + 2 * tile_row) * (width / 2) + 2 * tile_column;
                (vectors == 2 ? NAMED(write_result_2) : NAMED(write_result_1))(
                    products + index * 36 * lanes, bias + block, scale + block, shift + block,
                    out + corner * out_channels + block, width * out_channels, out_channels,
                    pooled ? pooled + pooled_corner * out_channels + block : 0);
            }
        }
    }
}

/* The first layer: one channel in. `image` has a border of one zero pixel on each side. */
void NAMED(convolve_first)(const float *image, int64_t height, int64_t width, const float *weights, const float *bias,
                           const float *scale, const float *shift, int64_t out_channels, float *out) {
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int64_t channel = 0; channel < out_channels; channel += LANES) {
                vec sum = (vec){0};
                _Pragma("GCC unroll 3") for (int row = 0; row < 3; row++)
                    _Pragma("GCC unroll 3") for (int column = 0; column < 3; column++)
                        sum += image[(y + row) * (width + 2) + x + column] *
                               load(weights + (row * 3 + column) * out_channels + channel);
                store(out + (y * width + x) * out_channels + channel, FINISHED(sum, channel));
            }
}

/* 1 x 1 convolution: (pixels, channels) to (pixels, out_channels). */
void NAMED(convolve_1x1)(const float *image, int64_t pixels, int64_t channels, const float *weights, const float *bias,
                         int64_t out_channels, float *out) {
    const int vectors = out_channels % (2 * LANES) ? 1 : 2;
    const int64_t lanes = vectors * LANES, together = 256; /* pixels that stay in the cache for all blocks */
    for (int64_t first = 0; first < pixels; first += together) {
        const int64_t count = pixels - first < together ? pixels - first : together;
        for (int64_t block = 0; block < out_channels; block += lanes)
            NAMED(product)(image + first * channels, channels, count, weights + block * channels, channels, vectors,
                           bias + block, out + first * out_channels + block, out_channels);
    }
}

#undef FINISHED
#undef PRODUCT
#undef WRITE_RESULT
#undef all
#undef store
#undef load
#undef vec
