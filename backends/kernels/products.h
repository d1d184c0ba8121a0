// Matrix products of a few rows with up to four vectors of columns, whose sums stay in registers. The order of additions
// of a number does not depend on the rows and columns that are computed with it.
//
// Every size of a tile is one function, called by address: what follows a product is compiled once, not once per size.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "vectors.h"

namespace {

#if defined(__AVX512F__)
constexpr int ROWS = 6;  // 6 rows x 4 vectors of sums, 4 of weights and one broadcast: 29 of 32 registers
#elif defined(__AVX__)
constexpr int ROWS = 3;  // 17 of 16 registers, but weights can be memory operands
#elif defined(__aarch64__)
constexpr int ROWS = 6;
#else
constexpr int ROWS = 3;
#endif

constexpr int WIDE = 4;  // vectors in a panel of columns

// Numbers of a product that are added one after the other. A longer sum is added up in pieces: its rounding errors
// would grow with its length.
constexpr int64_t LONGEST = 256;

template <class T> struct Products : Arithmetic<T> {
    typedef Arithmetic<T> A;
    typedef typename A::V V;
    using A::LANES, A::load, A::store, A::all;
    static constexpr int64_t PANEL = WIDE * LANES;

    // The left matrix by rows, in `blocks` of `depth` numbers whose starts are `step` apart; and the rows of the right
    // matrix, one after the other, each of as many vectors as the tile has.
    struct Factor {
        const T* const* rows;
        const T* right;
        int64_t depth, blocks = 1, step = 0;
        bool apart = false;  // a new piece of the sum begins here
    };

    // sums[r][v] = start[r][offset + v] + the products of row first + r of all factors (one or more), added in
    // order, and in pieces of at most LONGEST from the begin of a block on; `sums` has rows of PANEL numbers.
    template <int R, int NV>
    static void product(T* sums, const T* const* start, int64_t offset, const Factor* factor, int factors,
                        int64_t first) {
        V total[R][NV];
        for (int r = 0; r < R; r++)
            for (int v = 0; v < NV; v++) total[r][v] = load(start[r] + offset + v * LANES);
        bool pieces = false;  // whether `sums` has earlier pieces, which `total` lacks
        auto add_pieces = [&] {
            for (int r = 0; r < R; r++)
                for (int v = 0; v < NV; v++) total[r][v] = load(sums + r * PANEL + v * LANES) + total[r][v];
        };
        auto end_piece = [&] {
            if (pieces) add_pieces();
            pieces = true;
            for (int r = 0; r < R; r++)
                for (int v = 0; v < NV; v++) {
                    store(sums + r * PANEL + v * LANES, total[r][v]);
                    total[r][v] = V{};
                }
        };
        const Factor* end = factor + factors;
        do {
            const T* right = factor->right;
            if (factor->apart) end_piece();
            int64_t block = 0;
            do {
                const T* row[R];
                for (int r = 0; r < R; r++) row[r] = factor->rows[first + r] + block * factor->step;
                int64_t k = 0, last = std::min(factor->depth, LONGEST);
                while (true) {
                    do {
                        V values[NV];
                        for (int v = 0; v < NV; v++) values[v] = load(right + v * LANES);
                        for (int r = 0; r < R; r++) {
                            V one = all(row[r][k]);
                            for (int v = 0; v < NV; v++) total[r][v] += one * values[v];
                        }
                        right += NV * LANES;
                    } while (++k < last);
                    if (last == factor->depth) break;
                    end_piece();
                    last = std::min(factor->depth, last + LONGEST);
                }
                if (last > LONGEST) {  // so that the sum of a factor does not depend on the factors after it
                    add_pieces();
                    pieces = false;
                }
            } while (++block < factor->blocks);
        } while (++factor < end);
        if (pieces) add_pieces();
        for (int r = 0; r < R; r++)
            for (int v = 0; v < NV; v++) store(sums + r * PANEL + v * LANES, total[r][v]);
    }

    // to[r][v] += the sum over `count` tokens of left[r] * right[v], summed before it is added; `to` has rows of PANEL
    // numbers. A token's numbers are `left` [R] and `right`, at a distance of `stride`.
    template <int R, int NV>
    static void outer(T* to, int64_t count, const T* left, const T* right, int64_t stride) {
        V total[R][NV];
        for (int r = 0; r < R; r++)
            for (int v = 0; v < NV; v++) total[r][v] = V{};
        for (int64_t n = 0; n < count; n++, right += stride, left += R) {
            V values[NV];
            for (int v = 0; v < NV; v++) values[v] = load(right + v * LANES);
            for (int r = 0; r < R; r++) {
                V one = all(left[r]);
                for (int v = 0; v < NV; v++) total[r][v] += one * values[v];
            }
        }
        for (int r = 0; r < R; r++)
            for (int v = 0; v < NV; v++) {
                T* at = to + r * PANEL + v * LANES;
                store(at, load(at) + total[r][v]);
            }
    }

    typedef void (*Product)(T*, const T* const*, int64_t, const Factor*, int, int64_t);
    typedef void (*Outer)(T*, int64_t, const T*, const T*, int64_t);
    typedef std::make_integer_sequence<int, ROWS * WIDE> Sizes;
    template <int... N> static Product find_product(int64_t number, std::integer_sequence<int, N...>) {
        static constexpr Product TABLE[] = {product<N / WIDE + 1, N % WIDE + 1>...};
        return TABLE[number];
    }
    template <int... N> static Outer find_outer(int64_t number, std::integer_sequence<int, N...>) {
        static constexpr Outer TABLE[] = {outer<N / WIDE + 1, N % WIDE + 1>...};
        return TABLE[number];
    }
    // The functions for `rows` <= ROWS rows and `wide` <= WIDE vectors.
    static Product product_of(int64_t rows, int wide) { return find_product((rows - 1) * WIDE + wide - 1, Sizes()); }
    static Outer outer_of(int64_t rows, int wide) { return find_outer((rows - 1) * WIDE + wide - 1, Sizes()); }

    // Calls f(rows, first) for groups of at most ROWS of `count` rows; the number of rows of a full group is a constant.
    template <class F> static void in_groups(int64_t count, F f) {
        int64_t first = 0;
        for (; first + ROWS <= count; first += ROWS) f(std::integral_constant<int64_t, ROWS>(), first);
        if (first < count) f(count - first, first);
    }
    // Vectors of panel number `panel` of `size` columns.
    static int wide_of(int64_t size, int64_t panel) {
        return int(std::min<int64_t>(WIDE, (size - panel * PANEL + LANES - 1) / LANES));
    }
    static int64_t panels_of(int64_t size) { return (size + PANEL - 1) / PANEL; }
};

}  // namespace
