// Vectors of the width of the instruction set: memory, sigmoid and tanh; and vectors of 64 bytes in every build.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

namespace {

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif

template <class T> struct Vectors;
template <> struct Vectors<float> {
    typedef float V __attribute__((vector_size(BYTES)));
    typedef int32_t Whole;
    typedef Whole N __attribute__((vector_size(BYTES)));
    static constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, in the low bits
    static constexpr int MANTISSA = 23, BIAS = 127, DEGREE = 7;
    static constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
    static constexpr float SIGMOID_END = 87.0f, TANH_END = 9.1f;
};
template <> struct Vectors<double> {
    typedef double V __attribute__((vector_size(BYTES)));
    typedef int64_t Whole;
    typedef Whole N __attribute__((vector_size(BYTES)));
    static constexpr double ROUND = 6755399441055744.0;
    static constexpr int MANTISSA = 52, BIAS = 1023, DEGREE = 13;
    static constexpr double LN2_HIGH = 6.93147180369123816490e-01, LN2_LOW = 1.90821492927058770002e-10;
    static constexpr double SIGMOID_END = 708.0, TANH_END = 19.1;
};

constexpr double INVERSE_FACTORIAL[] = {
    1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800,
    1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};

template <class T> struct Arithmetic {
    typedef Vectors<T> C;
    typedef typename C::V V;
    typedef typename C::N N;
    static constexpr int LANES = BYTES / sizeof(T);

    // ---- vectors in memory -------------------------------------------------------------------------------------

    static V load(const T* p) { V v; std::memcpy(&v, p, sizeof v); return v; }
    static void store(T* p, V v) { std::memcpy(p, &v, sizeof v); }
    static V load(const T* p, int64_t n) {  // the first n <= LANES, then zeros
        if (n >= LANES) return load(p);
        V v = {};
        std::memcpy(&v, p, n * sizeof(T));
        return v;
    }
    static void store(T* p, V v, int64_t n) { std::memcpy(p, &v, (n >= LANES ? LANES : n) * sizeof(T)); }
    static V all(T s) { return s - V{}; }

    // ---- sigmoid and tanh, within 2 units in the last place ----------------------------------------------------

    // e^y = scale * (1 + p): p keeps the digits of e^y - 1 for small y.
    static void split_exp(V y, V& scale, V& p) {
        V shifted = y * T(1.4426950408889634) + C::ROUND;
        V n = shifted - C::ROUND;
        V r = y - n * C::LN2_HIGH;
        r = r - n * C::LN2_LOW;
        V sum = all(T(INVERSE_FACTORIAL[C::DEGREE]));
        for (int degree = C::DEGREE - 1; degree >= 2; degree--) sum = sum * r + T(INVERSE_FACTORIAL[degree]);
        p = r * r * sum + r;
        N bits;
        std::memcpy(&bits, &shifted, sizeof bits);
        bits = (bits << C::MANTISSA) + ((N{} + C::BIAS) << C::MANTISSA);
        std::memcpy(&scale, &bits, sizeof scale);
    }
    // Comparisons with NaN are false, so NaN passes the limits and propagates through p to the result.
    static V within(V x, T end) {
        x = x > end ? all(end) : x;
        return x < -end ? all(-end) : x;
    }
    static V sigmoid(V x) {
        V scale, p;
        split_exp(-within(x, C::SIGMOID_END), scale, p);
        return T(1) / (scale * p + scale + T(1));
    }
    // Computed for |x|, then the sign is restored: below zero e^2x - 1 would lose a digit.
    static V tanh(V x) {
        N bits, sign = N{} + std::numeric_limits<typename C::Whole>::min();
        std::memcpy(&bits, &x, sizeof bits);
        sign &= bits;
        bits ^= sign;
        std::memcpy(&x, &bits, sizeof x);
        V scale, p;
        split_exp(within(x, C::TANH_END) * T(2), scale, p);
        V minus_one = scale * p + (scale - T(1));
        V result = minus_one / (minus_one + T(2));
        std::memcpy(&bits, &result, sizeof bits);
        bits |= sign;
        std::memcpy(&result, &bits, sizeof result);
        return result;
    }

};

// 64 bytes, whatever the instruction set has: sums over lanes then have the same order, and bits, in builds with the
// same rounding. GCC's own vectors of more than a register's size go through memory.
template <class T> struct Wide {
    typedef Arithmetic<T> A;
    typedef typename A::V V;
    static constexpr int PARTS = 64 / BYTES, LANES = 64 / sizeof(T);
    V part[PARTS];

    static Wide load(const T* p) {
        Wide w;
        for (int n = 0; n < PARTS; n++) w.part[n] = A::load(p + n * A::LANES);
        return w;
    }
    static void store(T* p, const Wide& w) {
        for (int n = 0; n < PARTS; n++) A::store(p + n * A::LANES, w.part[n]);
    }
    static Wide load(const T* p, int64_t n) {  // the first n <= LANES, then zeros
        if (n >= LANES) return load(p);
        T whole[LANES] = {};
        std::memcpy(whole, p, n * sizeof(T));
        return load(whole);
    }
    static void store(T* p, const Wide& w, int64_t n) {
        if (n >= LANES) return store(p, w);
        T whole[LANES];
        store(whole, w);
        std::memcpy(p, whole, n * sizeof(T));
    }
    void operator+=(const Wide& other) {
        for (int n = 0; n < PARTS; n++) part[n] += other.part[n];
    }
    friend Wide operator+(Wide a, const Wide& b) { a += b; return a; }
    // sum + a * b, rounded once where the instruction set can.
    static Wide multiply_add(Wide sum, const Wide& a, const Wide& b) {
        for (int n = 0; n < PARTS; n++) sum.part[n] += a.part[n] * b.part[n];
        return sum;
    }
    static Wide multiply_add(Wide sum, T a, const Wide& b) {
        for (int n = 0; n < PARTS; n++) sum.part[n] += a * b.part[n];
        return sum;
    }
    friend Wide operator*(Wide a, T b) {
        for (int n = 0; n < PARTS; n++) a.part[n] *= b;
        return a;
    }
    // Sums of the lanes of LANES vectors, neighbors first: number n goes to `to[n]`.
    static void lane_sums(const Wide (&all)[LANES], T* to) {
        constexpr int L = A::LANES;
        typename A::N even, odd;
        for (int n = 0; n < L; n++) even[n] = 2 * n, odd[n] = 2 * n + 1;
        for (int first = 0; first < LANES; first += L) {
            V total[PARTS];
            for (int p = 0; p < PARTS; p++) {
                V v[L];
                for (int n = 0; n < L; n++) v[n] = all[first + n].part[p];
                for (int count = L; count > 1; count /= 2)
                    for (int n = 0; n < count / 2; n++) {
                        V one = v[2 * n], other = v[2 * n + 1];
                        v[n] = __builtin_shuffle(one, other, even) + __builtin_shuffle(one, other, odd);
                    }
                total[p] = v[0];
            }
            for (int count = PARTS; count > 1; count /= 2)
                for (int p = 0; p < count / 2; p++) total[p] = total[2 * p] + total[2 * p + 1];
            A::store(to + first, total[0]);
        }
    }
};

}  // namespace
