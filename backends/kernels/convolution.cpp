// A convolution over the tokens of every text, and the maximum over its windows: the sums of a window are not stored.
// Backward, every maximum passes its gradient on to one window. Compiled per instruction set like `recurrent.cpp`.
// core/models/encoders/textcnn.py defines the windows.
//
// The order of additions does not depend on the number of threads; forward, nor on the other texts of a batch.

#include <cstring>
#include <limits>
#include <vector>

#include "products.h"
#include "recurrent.h"

namespace {

template <class T> struct Windows : Products<T> {
    typedef Products<T> P;
    typedef typename P::A A;
    typedef typename P::V V;
    typedef typename P::N N;
    using P::LANES, P::PANEL;

    const Convolution& q;
    const std::vector<T> zeros;

    explicit Windows(const Convolution& problem) : q(problem), zeros(q.inputs) {}

    int64_t panels() const { return P::panels_of(q.channels); }
    int64_t stride() const { return (q.kernel * q.inputs + 1) * PANEL; }
    size_t packed_bytes() const { return sizeof(T) * q.models * panels() * stride(); }
    int64_t model_of(int64_t b) const { return b / (q.batch / q.models); }
    int64_t windows_of(int64_t b) const { return std::max<int64_t>(q.lengths[b] - q.within + 1, 1); }
    bool small() const { return 2.0 * q.batch * q.width * q.inputs * q.kernel * q.channels < 4e6; }

    // ---- forward -----------------------------------------------------------------------------------------------

    // Per panel of channels: the biases; then, for every token of a window and every input, the weights.
    void pack_panel(T* packed, int64_t number) const {
        T* to = packed + number * stride();
        int64_t model = number / panels(), panel = number % panels();
        int64_t first = panel * PANEL, real = std::min(PANEL, q.channels - first);
        int64_t columns = P::wide_of(q.channels, panel) * LANES;
        const T* bias = static_cast<const T*>(q.bias) + model * q.channels;
        const T* weight = static_cast<const T*>(q.weight) + model * q.channels * q.inputs * q.kernel;
        std::fill(to, to + stride(), T(0));
        std::copy(bias + first, bias + first + real, to);
        to += PANEL;
        for (int64_t c = 0; c < real; c++) {
            const T* from = weight + (first + c) * q.inputs * q.kernel;
            for (int64_t i = 0; i < q.inputs; i++)
                for (int64_t u = 0; u < q.kernel; u++) to[(u * q.inputs + i) * columns + c] = *from++;
        }
    }
    bool pack(T* packed) const {
        auto one = [&](int64_t number) { pack_panel(packed, number); };
        return seqtwin::parallel_for(q.models * panels(), small() ? 1 : q.threads, one);
    }

    const T* token(int64_t b, int64_t t) const {
        if (t < 0 || t >= q.lengths[b]) return zeros.data();
        if (!q.ids) return static_cast<const T*>(q.x) + (b * q.width + t) * q.inputs;
        int64_t id = q.ids[b * q.width + t];
        return id == 0 ? zeros.data() : static_cast<const T*>(q.table) + id * q.inputs;
    }

    // The largest sums so far of a panel, and, if POSITIONS, the first windows that have them.
    template <bool POSITIONS>
    static void keep_largest(T* best, N* place, const T* sums, int64_t rows, int64_t first, int wide) {
        for (int v = 0; v < wide; v++) {
            V most = A::load(best + v * LANES);
            for (int64_t r = 0; r < rows; r++) {
                V found = A::load(sums + r * PANEL + v * LANES);
                // NaN counts as larger than all numbers: a maximum must not hide it.
                N larger = ~(found <= most) & (most == most);
                most = larger ? found : most;
                if (POSITIONS) place[v] = larger ? N{} + typename A::C::Whole(first + r) : place[v];
            }
            A::store(best + v * LANES, most);
        }
    }

    // The maxima of one panel over the windows of text `b`.
    void panel_of_text(const T* all_packed, int64_t b, int64_t panel) const {
        int64_t windows = windows_of(b), first_channel = panel * PANEL;
        int64_t real = std::min(PANEL, q.channels - first_channel);
        int wide = P::wide_of(q.channels, panel);
        std::vector<const T*> tokens(windows + q.kernel - 1);
        for (size_t n = 0; n < tokens.size(); n++) tokens[n] = token(b, int64_t(n) - q.before);
        const T* packed = all_packed + (model_of(b) * panels() + panel) * stride();
        std::vector<typename P::Factor> factors(q.kernel);
        int64_t piece = 0;
        for (int64_t u = 0; u < q.kernel; u++) {
            factors[u] = {tokens.data() + u, packed + PANEL + u * q.inputs * wide * LANES, q.inputs};
            factors[u].apart = (piece += q.inputs) > LONGEST;
            if (factors[u].apart) piece = q.inputs;
        }
        const T* biases[ROWS];
        std::fill(biases, biases + ROWS, packed);
        T* values = q.values ? static_cast<T*>(q.values) + b * q.width * q.channels + first_channel : nullptr;
        alignas(64) T sums[ROWS * PANEL], best[PANEL];
        std::fill(best, best + PANEL, -std::numeric_limits<T>::infinity());
        N place[WIDE] = {};
        P::in_groups(windows, [&](int64_t size, int64_t first) {
            P::product_of(size, wide)(sums, biases, 0, factors.data(), int(q.kernel), first);
            if (q.position)
                keep_largest<true>(best, place, sums, size, first, wide);
            else
                keep_largest<false>(best, place, sums, size, first, wide);
            for (int64_t r = 0; values && r < size; r++)
                std::copy_n(sums + r * PANEL, real, values + (first + r) * q.channels);
        });
        std::copy_n(best, real, static_cast<T*>(q.pooled) + b * q.row + first_channel);
        int32_t* position = q.position + b * q.row + first_channel;
        for (int64_t c = 0; q.position && c < real; c++) position[c] = int32_t(place[c / LANES][c % LANES]);
        for (int64_t t = windows; values && t < q.width; t++) std::fill_n(values + t * q.channels, real, T(0));
    }
    bool convolve() const {
        seqtwin::Buffer own(q.packed ? 0 : packed_bytes());
        const T* packed = static_cast<const T*>(q.packed ? q.packed : own.memory);
        if (!q.packed && !pack(own.template as<T>())) return false;
        auto item = [&](int64_t n) {
            if (!seqtwin::interrupted()) panel_of_text(packed, n / panels(), n % panels());
        };
        return seqtwin::parallel_for(q.batch * panels(), small() ? 1 : q.threads, item);
    }

    // ---- backward ----------------------------------------------------------------------------------------------

    // The window of a maximum: `size` numbers of real tokens, from `token` of the text and from `skipped` numbers of
    // the window on. Both matrices have the inputs of a token side by side.
    struct Window {
        int64_t token, skipped, size;
    };
    Window window_of(int64_t b, int64_t channel) const {
        int64_t begin = q.position[b * q.row + channel] - q.before;
        int64_t first = std::max<int64_t>(begin, 0), end = std::min(begin + q.kernel, q.lengths[b]);
        return {first, (first - begin) * q.inputs, (end - first) * q.inputs};
    }
    T gradient_of(int64_t b, int64_t channel) const {
        return static_cast<const T*>(q.d_pooled)[b * q.row + channel];
    }
    static void add(T* __restrict to, const T* __restrict from, T factor, int64_t size) {
        for (int64_t n = 0; n < size; n++) to[n] += factor * from[n];
    }

    // The gradients of one channel's weights and bias: the texts of its model, in order.
    void channel_gradient(int64_t number) const {
        int64_t model = number / q.channels, channel = number % q.channels, texts = q.batch / q.models;
        std::vector<T> total(q.kernel * q.inputs);  // [K, I]
        T bias = 0;
        for (int64_t b = model * texts; b < (model + 1) * texts; b++) {
            Window own = window_of(b, channel);
            const T* x = static_cast<const T*>(q.x) + (b * q.width + own.token) * q.inputs;
            add(total.data() + own.skipped, x, gradient_of(b, channel), own.size);
            bias += gradient_of(b, channel);
        }
        if (q.d_bias) static_cast<T*>(q.d_bias)[number] = bias;
        if (!q.d_weight) return;
        T* to = static_cast<T*>(q.d_weight) + number * q.kernel * q.inputs;
        for (int64_t i = 0; i < q.inputs; i++)
            for (int64_t u = 0; u < q.kernel; u++) *to++ = total[u * q.inputs + i];
    }
    // The gradient of one text's inputs: the channels in order. `weight` is [M, C, K, I].
    void text_gradient(const T* weight, int64_t b) const {
        T* d_x = static_cast<T*>(q.d_x) + b * q.width * q.inputs;
        if (!q.adds) std::fill_n(d_x, q.width * q.inputs, T(0));
        const T* from = weight + model_of(b) * q.channels * q.kernel * q.inputs;
        for (int64_t channel = 0; channel < q.channels; channel++, from += q.kernel * q.inputs) {
            Window own = window_of(b, channel);
            add(d_x + own.token * q.inputs, from + own.skipped, gradient_of(b, channel), own.size);
        }
    }
    bool gradients() const {
        int64_t threads = small() ? 1 : q.threads, channels = q.models * q.channels;
        auto of_channel = [&](int64_t number) {
            if (!seqtwin::interrupted()) channel_gradient(number);
        };
        if ((q.d_weight || q.d_bias) && !seqtwin::parallel_for(channels, threads, of_channel)) return false;
        if (!q.d_x) return true;
        seqtwin::Buffer buffer(sizeof(T) * channels * q.kernel * q.inputs);
        T* weight = buffer.template as<T>();
        auto transpose = [&](int64_t number) {
            const T* from = static_cast<const T*>(q.weight) + number * q.kernel * q.inputs;
            T* to = weight + number * q.kernel * q.inputs;
            for (int64_t i = 0; i < q.inputs; i++)
                for (int64_t u = 0; u < q.kernel; u++) to[u * q.inputs + i] = *from++;
        };
        if (!seqtwin::parallel_for(channels, threads, transpose)) return false;
        auto of_text = [&](int64_t b) {
            if (!seqtwin::interrupted()) text_gradient(weight, b);
        };
        return seqtwin::parallel_for(q.batch, threads, of_text);
    }
};

template <class T> ConvolutionBuild build_of() {
    return {[](const Convolution& q) { return Windows<T>(q).packed_bytes(); },
            [](const Convolution& q) { return Windows<T>(q).pack(static_cast<T*>(q.packed)); },
            [](const Convolution& q) { return Windows<T>(q).convolve(); },
            [](const Convolution& q) { return Windows<T>(q).gradients(); }};
}

}  // namespace

#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
extern "C" ConvolutionBuild NAME(seqtwin_convolution_, TARGET)(bool float64) {
    return float64 ? build_of<double>() : build_of<float>();
}
