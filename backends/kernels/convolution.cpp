// A convolution over the tokens of every text, and the maximum over its windows: the sums of a window are never stored.
// Compiled per instruction set like `recurrent.cpp`. core/models/encoders/textcnn.py defines the windows.
//
// The order of additions does not depend on the number of threads, nor on the other texts of a batch.

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
    size_t packed_bytes() const { return sizeof(T) * panels() * stride(); }

    // Per panel of channels: the biases; then, for every token of a window and every input, the weights.
    void pack_panel(int64_t panel) const {
        T* to = static_cast<T*>(q.packed) + panel * stride();
        int64_t first = panel * PANEL, real = std::min(PANEL, q.channels - first);
        int64_t columns = P::wide_of(q.channels, panel) * LANES;
        const T *bias = static_cast<const T*>(q.bias), *weight = static_cast<const T*>(q.weight);
        std::fill(to, to + stride(), T(0));
        std::copy(bias + first, bias + first + real, to);
        to += PANEL;
        for (int64_t c = 0; c < real; c++) {
            const T* from = weight + (first + c) * q.inputs * q.kernel;
            for (int64_t i = 0; i < q.inputs; i++)
                for (int64_t u = 0; u < q.kernel; u++) to[(u * q.inputs + i) * columns + c] = *from++;
        }
    }
    bool pack() const {
        auto one = [&](int64_t panel) { pack_panel(panel); };
        return seqtwin::parallel_for(panels(), q.threads, one);
    }

    const T* token(int64_t b, int64_t t) const {
        if (t < 0 || t >= q.lengths[b]) return zeros.data();
        if (!q.ids) return static_cast<const T*>(q.x) + (b * q.width + t) * q.inputs;
        int64_t id = q.ids[b * q.width + t];
        return id == 0 ? zeros.data() : static_cast<const T*>(q.table) + id * q.inputs;
    }

    // The maxima of one panel over the windows of text `b`.
    void panel_of_text(int64_t b, int64_t panel) const {
        int64_t windows = q.centered ? q.lengths[b] : std::max<int64_t>(q.lengths[b] - q.kernel + 1, 1);
        int64_t before = q.centered ? (q.kernel - 1) / 2 : 0, wide = P::wide_of(q.channels, panel);
        std::vector<const T*> tokens(windows + q.kernel - 1);
        for (size_t n = 0; n < tokens.size(); n++) tokens[n] = token(b, int64_t(n) - before);
        const T* packed = static_cast<const T*>(q.packed) + panel * stride();
        std::vector<typename P::Factor> factors(q.kernel);
        for (int64_t u = 0; u < q.kernel; u++)
            factors[u] = {tokens.data() + u, packed + PANEL + u * q.inputs * wide * LANES, q.inputs};
        const T* biases[ROWS];
        std::fill(biases, biases + ROWS, packed);
        alignas(64) T sums[ROWS * PANEL], best[PANEL];
        std::fill(best, best + PANEL, -std::numeric_limits<T>::infinity());
        P::in_groups(windows, [&](int64_t size, int64_t first) {
            P::product_of(size, int(wide))(sums, biases, 0, factors.data(), int(q.kernel), first);
            for (int v = 0; v < wide; v++) {
                V most = A::load(best + v * LANES);
                for (int64_t r = 0; r < size; r++) {
                    V found = A::load(sums + r * PANEL + v * LANES);
                    // NaN counts as larger than all numbers: a maximum must not hide it.
                    N larger = ~(found <= most) & (most == most);
                    most = larger ? found : most;
                }
                A::store(best + v * LANES, most);
            }
        });
        T* to = static_cast<T*>(q.pooled) + b * q.row + panel * PANEL;
        std::copy_n(best, std::min(PANEL, q.channels - panel * PANEL), to);
    }
    bool convolve() const {
        auto item = [&](int64_t n) {
            if (!seqtwin::interrupted()) panel_of_text(n / panels(), n % panels());
        };
        double flops = 2.0 * q.batch * q.width * q.inputs * q.kernel * q.channels;
        return seqtwin::parallel_for(q.batch * panels(), flops < 4e6 ? 1 : q.threads, item);
    }
};

template <class T> ConvolutionBuild build_of() {
    return {[](const Convolution& q) { return Windows<T>(q).packed_bytes(); },
            [](const Convolution& q) { return Windows<T>(q).pack(); },
            [](const Convolution& q) { return Windows<T>(q).convolve(); }};
}

}  // namespace

#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
extern "C" ConvolutionBuild NAME(seqtwin_convolution_, TARGET)(bool float64) {
    return float64 ? build_of<double>() : build_of<float>();
}
