// Vectors of BYTES bytes in memory, sigmoid and tanh: what all arithmetic has in common.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

namespace {

template <class T, int BYTES> struct Vectors;
template <int BYTES> struct Vectors<float, BYTES> {
    typedef float V __attribute__((vector_size(BYTES)));
    typedef int32_t Whole;
    typedef Whole N __attribute__((vector_size(BYTES)));
    static constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, in the low bits
    static constexpr int MANTISSA = 23, BIAS = 127, DEGREE = 7;
    static constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
    static constexpr float SIGMOID_END = 87.0f, TANH_END = 9.1f;
};
template <int BYTES> struct Vectors<double, BYTES> {
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

template <class T, int BYTES> struct Arithmetic {
    typedef Vectors<T, BYTES> C;
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

}  // namespace
