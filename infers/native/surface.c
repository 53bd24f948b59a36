/* Surfaces of masks, and how far one lies from another. A mask is a volume of bits, a row along x in whole words.

   A corner is the point between eight voxels: corner (z, y, x) lies between the voxels z-1 and z, y-1 and y, x-1 and x;
   there is one more along each axis than voxels. It belongs to the surface if its voxels are not all alike. Its
   neighbour code has 128 for the voxel at (z-1, y-1, x-1), 64 for x instead of x-1, and so on to 1 for (z, y, x).

   Functions work on rows or slices from `first` to before `last`, so that threads can share the work. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define BITS 64
#define ONES UINT64_C(0x0101010101010101)
#define LOW_BITS UINT64_C(0x7f7f7f7f7f7f7f7f)
#define EXPORT __attribute__((visibility("default")))

/* One bit for each of eight bytes: whether it equals the byte repeated in `wanted`. */
static inline uint64_t equal_bytes(uint64_t bytes, uint64_t wanted)
{
    uint64_t differing = bytes ^ wanted;
    uint64_t zero = ~(((differing & LOW_BITS) + LOW_BITS) | differing | LOW_BITS);
    return ((zero >> 7) * UINT64_C(0x0102040810204080)) >> 56;
}

/* Bits of the voxels that have a value, for each of some values: (values, rows, words). A value that is neither 0 nor
   one of them is written to `unknown`. */
EXPORT void pack(const uint8_t *labels, int64_t first, int64_t last, int64_t rows, int64_t columns, int64_t words,
                 const uint8_t *values, int64_t count, uint64_t *bits, uint8_t *unknown)
{
    for (int64_t row = first; row < last; row++) {
        const uint8_t *voxels = labels + row * columns;
        for (int64_t word = 0; word < words; word++) {
            int64_t start = word * BITS, left = columns - start;
            uint64_t eight[8] = {0};
            if (left >= BITS)
                memcpy(eight, voxels + start, BITS);
            else if (left > 0)
                memcpy(eight, voxels + start, left);
            uint64_t varies = 0;
            for (int n = 1; n < 8; n++)
                varies |= eight[n] ^ eight[0];
            varies |= eight[0] ^ ((eight[0] & 255) * ONES);
            if (!varies && !eight[0]) {
                for (int64_t n = 0; n < count; n++)
                    bits[(n * rows + row) * words + word] = 0;
                continue;
            }
            uint64_t known = 0;
            for (int64_t n = 0; n < count; n++) {
                uint64_t wanted = values[n] * ONES, found = 0;
                if (!varies)
                    found = eight[0] == wanted ? ~UINT64_C(0) : 0;
                else
                    for (int part = 0; part < 8; part++)
                        found |= equal_bytes(eight[part], wanted) << (8 * part);
                bits[(n * rows + row) * words + word] = found;
                known |= found;
            }
            if (known == ~UINT64_C(0))
                continue;
            for (int n = 0; n < BITS; n++)
                if (!(known >> n & 1) && n < left && voxels[start + n])
                    *unknown = voxels[start + n];
        }
    }
}

/* Bits in one volume, in another, and in both. */
EXPORT void count(const uint64_t *one, const uint64_t *other, int64_t words, int64_t *counts)
{
    int64_t in_one = 0, in_other = 0, in_both = 0;
    for (int64_t word = 0; word < words; word++) {
        if (!(one[word] | other[word]))
            continue;
        in_one += __builtin_popcountll(one[word]);
        in_other += __builtin_popcountll(other[word]);
        in_both += __builtin_popcountll(one[word] & other[word]);
    }
    counts[0] = in_one;
    counts[1] = in_other;
    counts[2] = in_both;
}

/* The four rows of voxels around a row of corners, in the order of the neighbour code; `nothing` is a row of zeros. */
static inline void rows_around(const uint64_t *mask, const uint64_t *nothing, int64_t slices, int64_t height,
                               int64_t words, int64_t z, int64_t y, const uint64_t *rows[4])
{
    for (int n = 0; n < 4; n++) {
        int64_t slice = z - 1 + n / 2, line = y - 1 + n % 2;
        int inside = slice >= 0 && slice < slices && line >= 0 && line < height;
        rows[n] = inside ? mask + (slice * height + line) * words : nothing;
    }
}

/* Bits of the corners that belong to the surface: (slices + 1, height + 1, words); filled: whether a row has any.
 */
EXPORT void surface(const uint64_t *mask, const uint64_t *nothing, int64_t slices, int64_t height, int64_t words,
                       int64_t first, int64_t last, uint64_t *corners, uint8_t *filled)
{
    for (int64_t z = first; z < last; z++)
        for (int64_t y = 0; y <= height; y++) {
            const uint64_t *rows[4];
            rows_around(mask, nothing, slices, height, words, z, y, rows);
            uint64_t *row = corners + (z * (height + 1) + y) * words;
            uint64_t any_before = 0, all_before = 0, together = 0;
            for (int64_t word = 0; word < words; word++) {
                uint64_t any = rows[0][word] | rows[1][word] | rows[2][word] | rows[3][word];
                uint64_t all = rows[0][word] & rows[1][word] & rows[2][word] & rows[3][word];
                row[word] = (any | any << 1 | any_before >> 63) & ~(all & (all << 1 | all_before >> 63));
                together |= row[word];
                any_before = any;
                all_before = all;
            }
            filled[z * (height + 1) + y] = together != 0;
        }
}

/* Along a row: the distance in columns from `x` to the nearest corner, or -1; one further than `most` may be missed. */
static inline int64_t nearest_in_row(const uint64_t *row, int64_t words, int64_t x, int64_t most)
{
    int64_t word = x / BITS, bit = x % BITS, nearest = -1;
    uint64_t after = row[word] >> bit;
    if (after & 1)
        return 0;
    uint64_t before = row[word] << (BITS - 1 - bit);
    for (int64_t at = word, seen = 0;;) { /* to the right */
        if (after) {
            nearest = seen + __builtin_ctzll(after);
            most = nearest < most ? nearest : most;
            break;
        }
        seen = (at + 1) * BITS - x;
        if (++at >= words || seen > most)
            break;
        after = row[at];
    }
    for (int64_t at = word, seen = 0;;) { /* to the left */
        if (before) {
            int64_t left = seen + __builtin_clzll(before);
            return left <= most ? left : nearest;
        }
        seen = x - at * BITS + 1;
        if (--at < 0 || seen > most)
            return nearest;
        before = row[at];
    }
}

/* Distances from the surface of one mask to that of another.

   offsets: (many, 2) rows around a row, (slices, lines), nearest first; squares: how far each is, squared, in mm2.
   Corners that lie in both surfaces are counted in `together` by neighbour code; of every other one the code and the
   squared distance is written, or a negative number where no corner of the other surface lies within the offsets, and
   its place (z, y, x). */
EXPORT void distances(const uint64_t *mask, const uint64_t *nothing, const uint64_t *corners, const uint64_t *other,
                         const uint8_t *filled, int64_t slices, int64_t height, int64_t words, int64_t first, int64_t last,
                         const int32_t *offsets, const double *squares, int64_t many, const double *spacing_x_mm,
                         int64_t *together, uint8_t *codes, double *squared_mm2, int32_t *places)
{
    const double step = *spacing_x_mm, beyond = squares[many - 1];
    int64_t written = 0;
    for (int64_t z = first; z < last; z++)
        for (int64_t y = 0; y <= height; y++) {
            const uint64_t *rows[4];
            int64_t at = (z * (height + 1) + y) * words;
            rows_around(mask, nothing, slices, height, words, z, y, rows);
            for (int64_t word = 0; word < words; word++) {
                uint64_t left = corners[at + word], common = left & other[at + word];
                if (!left)
                    continue;
                uint64_t voxels[8];
                for (int n = 0; n < 4; n++) {
                    voxels[2 * n + 1] = rows[n][word];
                    voxels[2 * n] = rows[n][word] << 1 | (word ? rows[n][word - 1] >> 63 : 0);
                }
                for (; left; left &= left - 1) {
                    int bit = __builtin_ctzll(left);
                    int code = 0;
                    for (int n = 0; n < 8; n++)
                        code = code << 1 | (int)(voxels[n] >> bit & 1);
                    if (common >> bit & 1) {
                        together[code]++;
                        continue;
                    }
                    int64_t x = word * BITS + bit;
                    double best = INFINITY;
                    int64_t most = words * BITS;
                    for (int64_t n = 0; n < many && squares[n] < best; n++) {
                        int64_t slice = z + offsets[2 * n], line = y + offsets[2 * n + 1];
                        if (slice < 0 || slice > slices || line < 0 || line > height)
                            continue;
                        int64_t row = slice * (height + 1) + line;
                        if (!filled[row])
                            continue;
                        int64_t columns = nearest_in_row(other + row * words, words, x, most);
                        if (columns < 0)
                            continue;
                        double along = columns * step, square = squares[n] + along * along;
                        if (square < best)
                            best = square;
                        most = (int64_t)(sqrt(best) / step) + 1;
                    }
                    codes[written] = (uint8_t)code;
                    squared_mm2[written] = best <= beyond ? best : -1;
                    places[3 * written] = (int32_t)z;
                    places[3 * written + 1] = (int32_t)y;
                    places[3 * written + 2] = (int32_t)x;
                    written++;
                }
            }
        }
}

/* Squared distances along a row to its nearest corner, for the columns from `left` to before `right`, `stride` apart. */
static void squares_in_row(const uint64_t *row, int64_t words, int64_t left, int64_t right, double step,
                           double *squares, int64_t stride)
{
    int64_t x = left, before = -1;
    for (int64_t word = 0; word < words && x < right; word++)
        for (uint64_t bits = row[word]; bits; bits &= bits - 1) {
            int64_t ahead = word * BITS + __builtin_ctzll(bits);
            for (; x < right && x <= ahead; x++) {
                int64_t columns = before >= 0 && x - before < ahead - x ? x - before : ahead - x;
                squares[(x - left) * stride] = (columns * step) * (columns * step);
            }
            before = ahead;
        }
    for (; x < right; x++)
        squares[(x - left) * stride] = ((x - before) * step) * ((x - before) * step);
}

/* Distances of corners to those of another surface, by the lower envelopes of Felzenszwalb and Huttenlocher 2012 (doi
   10.4086/toc.2012.v008a019) in each of its slices from `first` to before `last`.

   places: (n, 3) as (z, y, x); box: lowest and beyond the highest y, then x, among them. best: (n,) squared distances
   in mm2, lowered where a slice has a nearer corner. Room to work in: heights for (columns of the box, lines), map for
   (lines of the box, columns), borders, parabolas and rows for lines. */
EXPORT void far_distances(const uint64_t *other, const uint8_t *filled, int64_t lines, int64_t words, int64_t first,
                          int64_t last, const double *spacing_mm, int64_t n, const int32_t *places, const int64_t *box,
                          double *best, double *heights, double *map, double *borders, int32_t *parabolas,
                          int32_t *rows)
{
    const double step_z = spacing_mm[0], step_y = spacing_mm[1], step_x = spacing_mm[2];
    const int64_t low = box[0], high = box[1], left = box[2], right = box[3], width = right - left;
    for (int64_t z = first; z < last; z++) {
        int64_t count = 0;
        for (int64_t y = 0; y < lines; y++)
            if (filled[z * lines + y])
                rows[count++] = (int32_t)y;
        if (!count)
            continue;
        for (int64_t row = 0; row < count; row++)
            squares_in_row(other + (z * lines + rows[row]) * words, words, left, right, step_x, heights + row, count);
        for (int64_t x = 0; x < width; x++) {
            const double *height = heights + x * count;
            int64_t top = 0;
            parabolas[0] = 0;
            borders[0] = -INFINITY;
            for (int64_t row = 1; row < count; row++) {
                double meet;
                for (;; top--) {
                    int64_t below = parabolas[top];
                    double apart = (rows[row] - rows[below]) * step_y;
                    double middle = (rows[row] + rows[below]) * step_y / 2;
                    meet = middle + (height[row] - height[below]) / (2 * apart);
                    if (meet > borders[top])
                        break;
                }
                parabolas[++top] = (int32_t)row;
                borders[top] = meet;
            }
            for (int64_t y = high - 1, at = top; y >= low; y--) {
                while (borders[at] > y * step_y)
                    at--;
                double across = (y - rows[parabolas[at]]) * step_y;
                map[(y - low) * width + x] = across * across + height[parabolas[at]];
            }
        }
        for (int64_t point = 0; point < n; point++) {
            double along = (places[3 * point] - z) * step_z, square = along * along;
            if (square >= best[point])
                continue;
            square += map[(places[3 * point + 1] - low) * width + places[3 * point + 2] - left];
            if (square < best[point])
                best[point] = square;
        }
    }
}
