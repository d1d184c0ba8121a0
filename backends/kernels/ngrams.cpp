// Logistic regression on n-grams by dual coordinate descent: one pass over the texts. Compiled per instruction set like
// `recurrent.cpp`. The equations are in core/data/ngrams/solver.py.
//
// Every problem is computed by one thread, in the order of the texts, so results do not depend on the number of threads.

#include <cmath>
#include <cstring>

#include "recurrent.h"

// Functions that take or return vectors are inlined or private: how other compilers would call them does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace {

// The vectors have WIDTH problems in every build: that is how they lie in memory.
template <int WIDTH> struct Solver {
    typedef double V __attribute__((vector_size(8 * WIDTH)));
    typedef int64_t N __attribute__((vector_size(8 * WIDTH)));
    static constexpr double ROUND = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer, in the low bits
    static constexpr double LN2_HIGH = 6.93147180369123816490e-01, LN2_LOW = 1.90821492927058770002e-10;

    static V load(const double* p) { V v; std::memcpy(&v, p, sizeof v); return v; }
    static void store(double* p, const V& v) { std::memcpy(p, &v, sizeof v); }
    static V all(double s) { return s - V{}; }
    static N bits_of(const V& v) { N n; std::memcpy(&n, &v, sizeof n); return n; }
    static V value_of(const N& n) { V v; std::memcpy(&v, &n, sizeof v); return v; }

    // e^y for |y| <= 700: 2^n e^r with |r| <= log(2) / 2, by its Taylor series.
    static V exp_of(const V& y) {
        constexpr double INVERSE[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880,
                                      1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0};
        V shifted = y * 1.4426950408889634 + ROUND, n = shifted - ROUND;
        V r = (y - n * LN2_HIGH) - n * LN2_LOW, sum = {};
        for (double factor : INVERSE) sum = sum * r + factor;
        return value_of(bits_of(sum) + (bits_of(shifted) << 52));
    }
    // log(x) of a normal x > 0: n log(2) + 2 atanh((m - 1) / (m + 1)), with m from sqrt(1/2) to sqrt(2).
    static V log_of(const V& x) {
        N bits = bits_of(x), exponent = (bits - 0x3FE6A09E667F3BCD) >> 52;
        V n = value_of(bits_of(all(ROUND)) + exponent) - ROUND, m = value_of(bits - (exponent << 52));
        V s = (m - 1.0) / (m + 1.0), z = s * s, sum = {};
        for (int odd = 23; odd >= 3; odd -= 2) sum = sum * z + 1.0 / odd;
        return n * LN2_HIGH + (n * LN2_LOW + 2.0 * (s + s * z * sum));
    }

    static V step(const NgramPass& q, const V& dual, const V& margin) {
        V within = margin > 700.0 ? all(700.0) : margin;
        within = within < -700.0 ? all(-700.0) : within;
        V fresh = dual + (q.cost / (1.0 + exp_of(within)) - dual) / (1.0 + q.cost / 2.0);
        for (int64_t turn = 0; turn < q.newton_steps; turn++) {
            V rest = q.cost - fresh;
            V slope = log_of(fresh / rest) + margin + 2.0 * (fresh - dual);
            V moved = fresh - slope / (q.cost / (fresh * rest) + 2.0);
            moved = moved >= q.cost ? q.cost - rest / 10.0 : moved <= 0.0 ? fresh / 10.0 : moved;
            moved = moved < q.least ? all(q.least) : moved;
            fresh = moved > q.cost - q.least ? all(q.cost - q.least) : moved;
        }
        return fresh;
    }

    static void block(const NgramPass& q, int64_t number) {
        double *table = q.table + number * q.size * 2 * WIDTH, *state = q.state + number * q.texts * 3 * WIDTH;
        V bias = load(q.bias + number * WIDTH);
        for (int64_t n = 0; n < q.texts; n++) {
            if (n % 256 == 0 && seqtwin::interrupted()) return;
            int64_t text = q.order[n], next = q.order[n + 1 < q.texts ? n + 1 : n];
            const int32_t *first = q.features + q.starts[text], *last = q.features + q.starts[text + 1];
            const int32_t *ahead = q.features + q.starts[next], *end = q.features + q.starts[next + 1];
            V even = {}, odd = {};
            const int32_t* f = first;
            for (; f + 1 < last; f += 2) {
                even += load(table + int64_t(f[0]) * 2 * WIDTH);
                odd += load(table + int64_t(f[1]) * 2 * WIDTH);
            }
            if (f < last) even += load(table + int64_t(*f) * 2 * WIDTH);
            double* own = state + text * 3 * WIDTH;
            V scale = load(own), sign = load(own + WIDTH), dual = load(own + 2 * WIDTH);
            V change = step(q, dual, sign * (scale * (even + odd) + bias)) - dual;
            change = sign == 0.0 ? V{} : change;
            store(own + 2 * WIDTH, dual + change);
            V signed_change = change * sign, factor = signed_change * scale;
            for (f = first; f < last; f++) {
                if (ahead < end) __builtin_prefetch(table + int64_t(*ahead++) * 2 * WIDTH, 1);
                double* at = table + int64_t(*f) * 2 * WIDTH;
                store(at, load(at) + factor * load(at + WIDTH));
            }
            __builtin_prefetch(state + next * 3 * WIDTH, 1);
            bias += signed_change;
        }
        store(q.bias + number * WIDTH, bias);
    }

    static bool run(const NgramPass& q) {
        auto one = [&](int64_t number) { block(q, number); };
        return seqtwin::parallel_for(q.blocks, q.threads, one);
    }
};

bool run(const NgramPass& q) { return q.width == 1 ? Solver<1>::run(q) : Solver<4>::run(q); }

}  // namespace

#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
extern "C" NgramBuild NAME(seqtwin_ngrams_, TARGET)() { return {run}; }
