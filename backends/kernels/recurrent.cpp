// Arithmetic of a recurrent layer, forward and backward, compiled once per instruction set (`setup.py`): only the
// vector width differs between the builds. docs/speed.md explains the design.
//
// The order of additions never depends on the number of threads or on the caller, so results are identical bit by bit.

#include "products.h"
#include "recurrent.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#ifndef TARGET
#error "TARGET names this build: avx512, avx2 or portable"
#endif

namespace {

using seqtwin::Buffer;

constexpr int64_t CHUNK = 128;  // tokens whose weight gradients are summed before they are added to the total
constexpr int64_t BLOCK = 48;   // tokens of an input gradient computed together
constexpr int64_t PIECE = 64;   // inputs or units whose weights a task packs

// Simple cells have a single gate block, the unit itself.
constexpr bool is_simple(int64_t cell) { return cell == SRN || cell == RESIDUAL_SRN; }

template <class T> struct Layer : Products<T> {
    typedef Products<T> P;
    typedef typename P::A A;
    typedef typename P::V V;
    typedef typename P::Factor Factor;
    using P::LANES, P::PANEL, P::in_groups, P::wide_of, P::panels_of, P::product_of, P::outer_of;
    using A::load, A::store, A::sigmoid, A::tanh;

    // ---- shape of a problem ------------------------------------------------------------------------------------

    const Problem& q;
    int gates;              // gate blocks in a weight: 1, 3, 4
    int64_t units;          // vectors of hidden units
    int64_t padded;         // units * LANES
    int64_t columns;        // stored numbers of a token's gates
    int64_t features;       // D * H
    int64_t tokens;
    std::vector<int64_t> order;    // rows by decreasing length
    std::vector<int64_t> offset;   // [B]: index of a row's first token, sequences concatenated
    T* gate_store[2] = {};         // [tokens, columns] of each direction; LSTM and GRU: [unit vector][4][LANES]
    T* cell_store[2] = {};         // [tokens, padded], LSTM only

    explicit Layer(const Problem& problem) : q(problem) {
        gates = q.cell == GRU ? 3 : q.cell == LSTM ? 4 : 1;
        units = (q.hidden + LANES - 1) / LANES;
        padded = units * LANES;
        columns = is_simple(q.cell) ? padded : units * PANEL;
        features = q.directions * q.hidden;
        order.resize(q.batch);
        std::iota(order.begin(), order.end(), int64_t(0));
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return q.lengths[a] > q.lengths[b]; });
        zeros.assign(std::max({q.inputs, q.hidden, PANEL}), T(0));
        offset.resize(q.batch);
        tokens = 0;
        for (int64_t b = 0; b < q.batch; b++) offset[b] = tokens, tokens += q.lengths[b];
        if (q.saved) {
            T* at = static_cast<T*>(q.saved);
            for (int64_t d = 0; d < q.directions; d++) {
                gate_store[d] = at, at += tokens * columns;
                if (q.cell == LSTM) cell_store[d] = at, at += tokens * padded;
            }
        }
    }
    static size_t saved_bytes(const Problem& q, int64_t tokens) {
        int64_t units = (q.hidden + LANES - 1) / LANES;
        int64_t each = is_simple(q.cell) ? units * LANES : units * PANEL + (q.cell == LSTM ? units * LANES : 0);
        return sizeof(T) * each * tokens * q.directions;
    }

    const T* weights(const void* const (&which)[2], int64_t d) const { return static_cast<const T*>(which[d]); }
    const T* token_x(int64_t b, int64_t t) const { return static_cast<const T*>(q.x) + (b * q.width + t) * q.inputs; }
    T* token_h(int64_t d, int64_t b, int64_t t) const {
        return static_cast<T*>(q.output) + (b * q.width + t) * features + d * q.hidden;
    }
    template <class P> static P* state(P* p, const Problem& q, int64_t d, int64_t b) {
        return p ? p + (d * q.batch + b) * q.hidden : nullptr;
    }
    const T* h_0(int64_t d, int64_t b) const { return state(static_cast<const T*>(q.h_0), q, d, b); }
    const T* c_0(int64_t d, int64_t b) const { return state(static_cast<const T*>(q.c_0), q, d, b); }
    // The token that direction d reads in its step s of a sequence, counted from the sequence's start.
    int64_t time(int64_t d, int64_t b, int64_t s) const { return d == 0 ? s : q.lengths[b] - 1 - s; }

    // ---- the order of gates in a panel -------------------------------------------------------------------------
    // LSTM i f g o. GRU n r z m, where n is the summand of x and m that of h, which the reset gate scales: the input
    // product fills the first three, the recurrent product the last three. SRN: four vectors of units.

    int from_x() const { return q.cell == GRU ? 3 : WIDE; }     // vectors of a panel that depend on x
    int skip_h() const { return q.cell == GRU ? 1 : 0; }        // the first vector that depends on h
    // Row of `weight_ih` (side 0) or `weight_hh` (side 1) of a stored column; -1: none.
    int64_t weight_row(int side, int64_t column) const {
        int64_t unit, gate;
        if (is_simple(q.cell)) {
            unit = column, gate = 0;
        } else {
            unit = column / PANEL * LANES + column % LANES;
            gate = column % PANEL / LANES;
            if (q.cell == GRU) {
                static const int table[2][4] = {{2, 0, 1, -1}, {-1, 0, 1, 2}};
                gate = table[side][gate];
            }
        }
        return unit < q.hidden && gate >= 0 ? gate * q.hidden + unit : -1;
    }
    int64_t depth(int side) const { return side == 0 ? q.inputs : q.hidden; }
    int64_t panels() const { return panels_of(columns); }
    int width_of(int64_t panel) const { return wide_of(columns, panel); }

    // ---- forward -----------------------------------------------------------------------------------------------

    int64_t packed_stride() const { return (q.inputs + q.hidden + 1) * PANEL; }
    int64_t packed_size() const { return q.directions * panels() * packed_stride(); }
    int64_t pieces(int side) const { return (depth(side) + PIECE - 1) / PIECE; }
    bool pack(T* packed) const {
        int64_t each = pieces(0) + pieces(1);
        auto one = [&](int64_t n) {
            seqtwin::phase = seqtwin::PACK;
            int64_t panel = n / each, piece = n % each, side = piece >= pieces(0);
            pack_forward(panel / panels(), panel % panels(), int(side), piece - side * pieces(0),
                         packed + panel * packed_stride());
        };
        return seqtwin::parallel_for(q.directions * panels() * each, threads(), one);
    }

    // Per panel: the bias; then for every input (side 0), then every unit (side 1), its weights to the panel's columns.
    // A task takes a piece of one side; the first one takes the bias, too.
    void pack_forward(int64_t d, int64_t panel, int side, int64_t piece, T* at) const {
        int wide = width_of(panel), from = std::min(wide, from_x());
        if (side == 0 && piece == 0)
            for (int64_t j = 0; j < wide * LANES; j++) {
                int64_t from_input = weight_row(0, panel * PANEL + j), from_hidden = weight_row(1, panel * PANEL + j);
                at[j] = (from_input < 0 ? T(0) : weights(q.bias_ih, d)[from_input]) +
                        (from_hidden < 0 ? T(0) : weights(q.bias_hh, d)[from_hidden]);
            }
        at += PANEL + (side == 0 ? 0 : q.inputs * from * LANES);
        int first = side == 0 ? 0 : skip_h(), count = side == 0 ? from : wide - first;
        const T* weight = weights(side == 0 ? q.weight_ih : q.weight_hh, d);
        int64_t stop = std::min(depth(side), (piece + 1) * PIECE);
        for (int64_t start = piece * PIECE; start < stop; start += 16) {  // a transposed block of 16 rows stays in the cache
            int64_t end = std::min(stop, start + 16);
            for (int64_t j = 0; j < count * LANES; j++) {
                int64_t row = weight_row(side, panel * PANEL + first * LANES + j);
                for (int64_t k = start; k < end; k++)
                    at[k * count * LANES + j] = row < 0 ? T(0) : weight[row * depth(side) + k];
            }
        }
    }

    struct Place {  // one row at one step of one direction
        T* h;
        T* gates;  // stored, or null
        T* c_before;
        T* c;
    };
    struct Terms {  // of the sums of some rows at one step
        bool known;
        std::vector<const T*> start, x, h;  // the known sums of biases and x, or the biases; x; the state before, or null
        T* sums;                            // [ROWS, PANEL]: of a tile
        const T* own[ROWS];                 // its rows
        Terms(int64_t rows, bool known, T* sums) : known(known), start(rows), x(rows), h(rows), sums(sums) {
            for (int r = 0; r < ROWS; r++) own[r] = sums + r * PANEL;
        }
    };

    // Calls f(size, first) with the sums of a panel of rows `first` to `first + size` (excluded) in `terms.sums`: biases,
    // products of inputs, and products of states, if there are any.
    template <class F>
    void panel_sums(const Terms& terms, int64_t rows, int64_t panel, const T* packed, F f) const {
        bool known = terms.known, begun = terms.h[0];
        T* sums = terms.sums;
        int wide = width_of(panel), from = std::min(wide, from_x());
        const T* weights = packed + panel * packed_stride();
        int64_t offset = known ? panel * PANEL : panel * packed_stride();
        Factor inputs{terms.x.data(), weights + PANEL, q.inputs};
        Factor both[2] = {inputs, {terms.h.data(), inputs.right + q.inputs * from * LANES, q.hidden}};
        in_groups(rows, [&](int64_t size, int64_t first) {
            const T* const* start = &terms.start[first];
            if (q.cell != GRU && (begun || !known)) {
                product_of(size, wide)(sums, start, offset, both + known, 1 + begun - known, first);
            } else {
                if (!known) product_of(size, from)(sums, start, offset, both, 1, first);
                for (int64_t r = 0; r < size; r++)
                    for (int v = known ? 0 : 3; v < wide; v++)
                        store(sums + r * PANEL + v * LANES, load(start[r] + offset + v * LANES));
                if (begun) product_of(size, 3)(sums + LANES, terms.own, LANES, both + 1, 1, first);
            }
            f(size, first);
        });
    }

    // From the sums of a panel of some rows to their states; `before`: the states before.
    template <int C>
    void states_of(T* sums, const Place* place, const T* const* before, int64_t size, int64_t panel) const {
        int wide = width_of(panel);
        // First the activations of all rows, none of which waits for another.
        for (T* at = sums; at < sums + size * PANEL; at += PANEL) {
            if (is_simple(C))
                for (int v = 0; v < wide; v++) store(at + v * LANES, tanh(load(at + v * LANES)));
            if (C == LSTM) store(at, sigmoid(load(at)));
            if (C == LSTM || C == GRU) store(at + LANES, sigmoid(load(at + LANES)));
            if (C == LSTM) store(at + 2 * LANES, tanh(load(at + 2 * LANES)));
            if (C == GRU) store(at + 2 * LANES, sigmoid(load(at + 2 * LANES)));
            if (C == LSTM) store(at + 3 * LANES, sigmoid(load(at + 3 * LANES)));
        }
        for (int64_t r = 0; r < size; r++, sums += PANEL) {
            const Place& p = place[r];
            const T* h_before = before[r];
            if (C == SRN) std::copy_n(sums, std::min<int64_t>(wide * LANES, q.hidden - panel * PANEL), p.h + panel * PANEL);
            if (C == RESIDUAL_SRN)
                for (int v = 0; v < wide; v++) {
                    int64_t unit = (panel * WIDE + v) * LANES;
                    V h = load(sums + v * LANES);
                    if (p.gates) store(p.gates + unit, h);  // h minus the previous state would have fewer digits
                    if (h_before) h += load(h_before + unit, q.hidden - unit);
                    store(p.h + unit, h, q.hidden - unit);
                }
            if (is_simple(C)) continue;
            int64_t unit = panel * LANES, left = q.hidden - unit;
            V h, kept[] = {load(sums), load(sums + LANES), load(sums + 2 * LANES), load(sums + 3 * LANES)};
            if (C == LSTM) {
                V i = kept[0], f = kept[1], g = kept[2], o = kept[3];
                V c = f * load(p.c_before + unit) + i * g;
                store(p.c + unit, c);
                h = o * tanh(c);
            } else {
                V reset = kept[1], z = kept[2], m = kept[3];
                V n = tanh(kept[0] + reset * m);
                V before = h_before ? load(h_before + unit, left) : V{};
                h = n + z * (before - n);
                kept[0] = n;
            }
            store(p.h + unit, h, left);
            if (p.gates)
                for (int v = 0; v < 4; v++) store(p.gates + panel * PANEL + v * LANES, kept[v]);
        }
    }
    void forward_tile(T* sums, const Place* place, const T* const* before, int64_t size, int64_t panel) const {
        switch (q.cell) {
            case SRN: return states_of<SRN>(sums, place, before, size, panel);
            case GRU: return states_of<GRU>(sums, place, before, size, panel);
            case LSTM: return states_of<LSTM>(sums, place, before, size, panel);
            default: return states_of<RESIDUAL_SRN>(sums, place, before, size, panel);
        }
    }

    // ---- work sharing ------------------------------------------------------------------------------------------
    // A work item is a direction and some rows, as sequences are independent. Rows are dealt out longest first, each to
    // the part with the least work so far.

    int64_t threads() const {
        double flops = 2.0 * tokens * q.directions * (q.inputs + q.hidden) * gates * q.hidden;
        return flops < 4e6 ? 1 : q.threads;
    }
    int64_t parts() const {
        int64_t count = threads() % q.directions == 0 ? threads() / q.directions : threads();
        return std::max<int64_t>(1, std::min(count, q.batch));
    }
    std::vector<std::vector<int64_t>> dealt_rows() const {
        std::vector<std::vector<int64_t>> dealt(parts());
        std::vector<int64_t> work(parts());
        for (int64_t b : order) {
            int64_t part = std::min_element(work.begin(), work.end()) - work.begin();
            // A step of a tile takes about as long as 4 + 5 * rows: its first row waits for the weights.
            work[part] += (dealt[part].size() % ROWS == 0 ? 9 : 5) * q.lengths[b];
            dealt[part].push_back(b);
        }
        return dealt;
    }

    void forward_item(int64_t d, const std::vector<int64_t>& rows, const T* packed) const {
        int64_t count = rows.size();
        Buffer memory(sizeof(T) * padded * count);
        T* cells = memory.as<T>();
        if (q.cell == LSTM)
            for (int64_t r = 0; r < count; r++) {
                std::fill(cells + r * padded, cells + (r + 1) * padded, T(0));
                if (const T* start = c_0(d, rows[r])) std::copy(start, start + q.hidden, cells + r * padded);
            }
        for (int64_t b : rows)
            for (int64_t t = q.lengths[b]; t < q.width; t++)
                std::fill(token_h(d, b, t), token_h(d, b, t) + q.hidden, T(0));
        std::vector<Place> place(count);
        alignas(64) T sums[ROWS * PANEL];
        Terms terms(count, q.ids && q.sums, sums);
        int64_t active = count;
        for (int64_t s = 0; s < q.lengths[rows[0]]; s++) {
            if (seqtwin::interrupted()) return;
            while (q.lengths[rows[active - 1]] <= s) active--;
            for (int64_t r = 0; r < active; r++) {
                int64_t b = rows[r], t = time(d, b, s), token = offset[b] + t;
                Place& p = place[r];
                int64_t id = q.ids ? q.ids[b * q.width + t] : 0;
                terms.start[r] = terms.known ? sums_of(id, d) : packed;
                terms.x[r] = q.ids ? row_of_table(id) : token_x(b, t);
                terms.h[r] = s > 0 ? token_h(d, b, time(d, b, s - 1)) : h_0(d, b);
                p.h = token_h(d, b, t);
                p.gates = q.saved ? gate_store[d] + token * columns : nullptr;
                p.c_before = p.c = cells + r * padded;
                if (q.cell == LSTM && q.saved) {
                    p.c = cell_store[d] + token * padded;
                    if (s > 0) p.c_before = cell_store[d] + (offset[b] + time(d, b, s - 1)) * padded;
                }
            }
            for (int64_t panel = 0; panel < panels(); panel++)
                panel_sums(terms, active, panel, packed, [&](int64_t size, int64_t first) {
                    forward_tile(sums, &place[first], &terms.h[first], size, panel);
                });
            for (int64_t r = active; r-- > 0 && q.lengths[rows[r]] == s + 1;) {
                if (T* to = state(static_cast<T*>(q.h_n), q, d, rows[r])) std::copy(place[r].h, place[r].h + q.hidden, to);
                if (q.cell == LSTM)
                    if (T* to = state(static_cast<T*>(q.c_n), q, d, rows[r]))
                        std::copy(place[r].c, place[r].c + q.hidden, to);
            }
        }
    }

    // ---- inputs from a table -----------------------------------------------------------------------------------
    // The biases plus the product of a word's vector are the same wherever the word occurs. They are computed once, in the
    // order of additions of `forward_tile`, so results have the same bits as without the table.

    std::vector<T> zeros;
    const T* row_of_table(int64_t id) const {
        return id == 0 ? zeros.data() : static_cast<const T*>(q.table) + id * q.inputs;
    }
    T* sums_of(int64_t id, int64_t d) const {
        return static_cast<T*>(q.sums) + (id * q.directions + d) * panels() * PANEL;
    }

    void sums_of_block(const int64_t* ids, int64_t count, int64_t d, const T* packed) const {
        alignas(64) T sums[ROWS * PANEL];
        Terms terms(count, false, sums);
        for (int64_t n = 0; n < count; n++) terms.start[n] = packed, terms.x[n] = row_of_table(ids[n]);
        for (int64_t panel = 0; panel < panels(); panel++)
            panel_sums(terms, count, panel, packed, [&](int64_t size, int64_t first) {
                for (int64_t r = 0; r < size; r++)
                    std::copy_n(sums + r * PANEL, width_of(panel) * LANES, sums_of(ids[first + r], d) + panel * PANEL);
            });
    }

    // Computes the sums of the words that no earlier call had.
    bool complete_sums(const T* packed) const {
        std::vector<int64_t> found;
        found.reserve(tokens);
        for (int64_t b = 0; b < q.batch; b++)
            for (int64_t t = 0; t < q.lengths[b]; t++) {
                int64_t id = q.ids[b * q.width + t];
                if (!q.known[id]) q.known[id] = 1, found.push_back(id);
            }
        int64_t count = found.size(), blocks = (count + BLOCK - 1) / BLOCK;
        auto block = [&](int64_t n) {
            if (seqtwin::interrupted()) return;
            int64_t d = n / blocks, first = n % blocks * BLOCK;
            const int64_t* ids = found.data() + first;
            const T* mine = packed + d * panels() * packed_stride();
            sums_of_block(ids, std::min(BLOCK, count - first), d, mine);
        };
        bool done = seqtwin::parallel_for(q.directions * blocks, threads(), block);
        if (!done)
            for (int64_t id : found) q.known[id] = 0;
        return done;
    }

    bool forward() const {
        Buffer memory(q.packed ? 0 : sizeof(T) * packed_size());
        const T* packed = q.packed ? static_cast<const T*>(q.packed) : memory.as<T>();
        if (!q.packed && !pack(memory.as<T>())) return false;
        if (q.ids && q.sums && !complete_sums(packed)) return false;
        auto rows = dealt_rows();
        int64_t count = rows.size();
        auto item = [&](int64_t n) {
            seqtwin::phase = seqtwin::FORWARD;
            int64_t d = n / count;
            forward_item(d, rows[n % count], packed + d * panels() * packed_stride());
        };
        return seqtwin::parallel_for(q.directions * count, threads(), item);
    }

    // ---- backward: the recurrent pass --------------------------------------------------------------------------
    // Iterates backward over the steps and replaces the gates stored by forward by the loss gradients of their
    // pre-activations.

    int64_t used_columns() const { return q.cell == GRU ? columns / WIDE * 3 : columns; }
    // The gradients of several tokens' gates as a factor of packed weights; a GRU has three vectors in four.
    Factor times_gates(const T* const* gates, const T* packed) const {
        return q.cell == GRU ? Factor{gates, packed, 3 * LANES, units, PANEL} : Factor{gates, packed, columns};
    }
    // For one panel of inputs or units: for every stored column, its weights to the panel's features. A task takes the
    // columns of the gate panel `part`.
    void pack_backward(int side, int64_t d, int64_t panel, int64_t part, T* at) const {
        const T* weight = weights(side == 0 ? q.weight_ih : q.weight_hh, d);
        int64_t size = depth(side), first = panel * PANEL, wide = wide_of(size, panel) * LANES;
        int64_t real = std::min(wide, size - first);
        at += part * (q.cell == GRU ? PANEL - LANES : PANEL) * wide;
        for (int64_t column = part * PANEL; column < std::min(columns, (part + 1) * PANEL); column++) {
            if (q.cell == GRU && column % PANEL / LANES == (side == 0 ? 3 : 0)) continue;
            int64_t row = weight_row(side, column);
            std::fill(at, at + wide, T(0));
            if (row >= 0) std::copy(weight + row * size + first, weight + row * size + first + real, at);
            at += wide;
        }
    }

    // Requests `count` numbers that the next step uses: processors are slow at seeing that memory is read backwards.
    static void fetch(const T* p, int64_t count) {
        for (int64_t n = 0; n < count; n += int64_t(64 / sizeof(T))) __builtin_prefetch(p + n);
    }

    struct Step {  // one row at one step of one direction, in backward
        T* gates;
        const T* h;
        const T* h_before;  // or null
        const T* c;
        const T* c_before;
        const T* d_output;  // or null
        T* carry;           // [padded]: gradient of h (GRU, residual SRN) or c (LSTM) that bypasses the weights
        const T* start;     // gradient of the final state, for a row that starts here, or null
        T* d_h_0;
        int64_t next;       // tokens to the one of the next step: -1, 1, or 0: none
    };

    enum Kind { FIRST, INNER, INITIAL };  // the last step of a sequence; one before it; the initial state

    // From the sums of a panel of some rows to the gradients of their gates.
    template <int C>
    void gradients_of(const T* sums, Kind kind, const Step* step, int64_t size, int64_t panel) const {
        int wide = wide_of(q.hidden, panel);
        for (int64_t r = 0; r < size; r++, sums += PANEL) {
            const Step& p = step[r];
            for (int v = 0; v < wide; v++) {
                int64_t unit = panel * PANEL + v * LANES, left = q.hidden - unit;
                V dh = load(sums + v * LANES);
                if (kind == FIRST && p.start) dh += load(p.start + unit, left);
                if ((C == GRU || C == RESIDUAL_SRN) && kind != FIRST) dh += load(p.carry + unit);
                if (kind == INITIAL) {
                    store(p.d_h_0 + unit, dh, left);
                    continue;
                }
                if (p.d_output) dh += load(p.d_output + unit, left);
                if (is_simple(C)) {
                    V step = C == SRN ? load(p.h + unit, left) : load(p.gates + unit);
                    store(p.gates + unit, dh * (T(1) - step * step));
                    if (C == RESIDUAL_SRN) store(p.carry + unit, dh);
                    continue;
                }
                T* kept = p.gates + unit * WIDE;
                fetch(kept + p.next * columns, WIDE * LANES);
                if (p.d_output) fetch(p.d_output + p.next * features + unit, LANES);
                if (C == LSTM) fetch(p.c_before + p.next * padded + unit, LANES);
                V k[4];
                for (int gate = 0; gate < 4; gate++) k[gate] = load(kept + gate * LANES);
                if (C == LSTM) {
                    V i = k[0], f = k[1], g = k[2], o = k[3], c = tanh(load(p.c + unit));
                    V dc = load(p.carry + unit) + dh * o * (T(1) - c * c);
                    store(kept, dc * g * i * (T(1) - i));
                    store(kept + LANES, dc * load(p.c_before + unit) * f * (T(1) - f));
                    store(kept + 2 * LANES, dc * i * (T(1) - g * g));
                    store(kept + 3 * LANES, dh * c * o * (T(1) - o));
                    store(p.carry + unit, dc * f);
                } else {
                    V n = k[0], reset = k[1], z = k[2], m = k[3];
                    V before = p.h_before ? load(p.h_before + unit, left) : V{};
                    V dn = dh * (T(1) - z) * (T(1) - n * n);
                    store(kept, dn);
                    store(kept + LANES, dn * m * reset * (T(1) - reset));
                    store(kept + 2 * LANES, dh * (before - n) * z * (T(1) - z));
                    store(kept + 3 * LANES, dn * reset);
                    store(p.carry + unit, dh * z);
                }
            }
        }
    }
    void backward_tile(const T* sums, Kind kind, const Step* step, int64_t size, int64_t panel) const {
        switch (q.cell) {
            case SRN: return gradients_of<SRN>(sums, kind, step, size, panel);
            case GRU: return gradients_of<GRU>(sums, kind, step, size, panel);
            case LSTM: return gradients_of<LSTM>(sums, kind, step, size, panel);
            default: return gradients_of<RESIDUAL_SRN>(sums, kind, step, size, panel);
        }
    }

    void backward_item(int64_t d, const std::vector<int64_t>& rows, const T* packed) const {
        int64_t count = rows.size();
        Buffer carried(sizeof(T) * padded * count), initial(sizeof(T) * padded * count);
        T *carry = carried.as<T>(), *c_start = initial.as<T>();
        std::fill(carry, carry + padded * count, T(0));
        std::fill(c_start, c_start + padded * count, T(0));
        for (int64_t r = 0; r < count; r++) {
            if (q.cell != LSTM) continue;
            if (const T* from = state(static_cast<const T*>(q.d_c_n), q, d, rows[r]))
                std::copy(from, from + q.hidden, carry + r * padded);
            if (const T* from = c_0(d, rows[r])) std::copy(from, from + q.hidden, c_start + r * padded);
        }
        std::vector<Step> step(count);
        std::vector<const T*> nothing(count, zeros.data()), gates_after(count);  // gradients of the following step
        alignas(64) T sums[ROWS * PANEL] = {};
        auto all_panels = [&](int64_t from, int64_t to, Kind kind) {
            if (kind == FIRST) std::fill(sums, sums + ROWS * PANEL, T(0));
            for (int64_t panel = 0; panel < panels_of(q.hidden); panel++) {
                Factor gates = times_gates(gates_after.data(), packed + panel * used_columns() * PANEL);
                in_groups(to - from, [&](int64_t size, int64_t row) {
                    if (kind != FIRST)
                        product_of(size, wide_of(q.hidden, panel))(sums, nothing.data(), 0, &gates, 1, from + row);
                    backward_tile(sums, kind, &step[from + row], size, panel);
                });
            }
        };
        int64_t active = 0;
        for (int64_t s = q.lengths[rows[0]] - 1; s >= 0; s--) {
            if (seqtwin::interrupted()) return;
            int64_t inner = active;  // these have a following step
            while (active < count && q.lengths[rows[active]] > s) active++;
            for (int64_t r = 0; r < active; r++) {
                int64_t b = rows[r], t = time(d, b, s), token = offset[b] + t;
                Step& p = step[r];
                if (r < inner) gates_after[r] = p.gates + (q.cell == GRU ? LANES : 0);
                p.gates = gate_store[d] + token * columns;
                p.h = token_h(d, b, t);
                p.h_before = s > 0 ? token_h(d, b, time(d, b, s - 1)) : h_0(d, b);
                if (q.cell == LSTM) {
                    p.c = cell_store[d] + token * padded;
                    p.c_before = s > 0 ? cell_store[d] + (offset[b] + time(d, b, s - 1)) * padded : c_start + r * padded;
                }
                p.d_output = q.d_output ? static_cast<const T*>(q.d_output) + (b * q.width + t) * features + d * q.hidden
                                        : nullptr;
                p.next = s > 0 ? time(d, b, s - 1) - t : 0;
                p.carry = carry + r * padded;
                p.start = state(static_cast<const T*>(q.d_h_n), q, d, b);
            }
            all_panels(0, inner, INNER);
            all_panels(inner, active, FIRST);
        }
        if (q.d_h_0) {
            for (int64_t r = 0; r < count; r++) {
                gates_after[r] = step[r].gates + (q.cell == GRU ? LANES : 0);
                step[r].d_h_0 = state(static_cast<T*>(q.d_h_0), q, d, rows[r]);
            }
            all_panels(0, count, INITIAL);
        }
        if (q.cell == LSTM && q.d_c_0)
            for (int64_t r = 0; r < count; r++)
                std::copy(carry + r * padded, carry + r * padded + q.hidden,
                          state(static_cast<T*>(q.d_c_0), q, d, rows[r]));
    }

    // ---- backward: gradients of the inputs ---------------------------------------------------------------------

    void input_block(int64_t block, const T* packed) const {
        int64_t from = block * BLOCK, count = std::min(BLOCK, tokens - from), place[BLOCK];  // of a token: b * L + t
        int64_t b = std::upper_bound(offset.begin(), offset.end(), from) - offset.begin() - 1, t = from - offset[b];
        for (int64_t n = 0; n < count; n++) {
            if (t == q.lengths[b]) b++, t = 0;
            place[n] = b * q.width + t++;
            if (t < q.lengths[b]) continue;
            T* row = static_cast<T*>(q.d_x) + b * q.width * q.inputs;
            std::fill(row + t * q.inputs, row + q.width * q.inputs, T(0));
        }
        const T *nothing[ROWS], *gates[2][BLOCK];  // no start
        std::fill(nothing, nothing + ROWS, zeros.data());
        for (int64_t d = 0; d < q.directions; d++)
            for (int64_t n = 0; n < count; n++) gates[d][n] = gate_store[d] + (from + n) * columns;
        alignas(64) T sums[ROWS * PANEL];
        for (int64_t panel = 0; panel < panels_of(q.inputs); panel++) {
            int64_t width = std::min(PANEL, q.inputs - panel * PANEL);
            Factor factors[2];
            for (int64_t d = 0; d < q.directions; d++)
                factors[d] = times_gates(gates[d], packed + (panel * q.directions + d) * used_columns() * PANEL);
            in_groups(count, [&](int64_t size, int64_t first) {
                product_of(size, wide_of(q.inputs, panel))(sums, nothing, 0, factors, int(q.directions), first);
                for (int64_t r = 0; r < size; r++)
                    std::copy_n(sums + r * PANEL, width,
                                static_cast<T*>(q.d_x) + place[first + r] * q.inputs + panel * PANEL);
            });
        }
    }

    // ---- backward: gradients of the weights --------------------------------------------------------------------
    // A panel of gate columns against every feature of x (side 0) and of the state before (side 1). Sums of a chunk of
    // tokens stay in registers; chunks are added in order.

    int64_t feature_groups(int side) const { return (depth(side) + ROWS - 1) / ROWS; }
    int64_t feature_groups() const { return feature_groups(0) + feature_groups(1); }

    // A share of the feature groups of both sides: from the feature `low` to `high` (excluded) of each.
    struct Features {
        int64_t low[2], high[2];
        int64_t size(int side) const { return high[side] - low[side]; }
        int64_t size() const { return size(0) + size(1); }
        int64_t before(int side) const { return side == 0 ? 0 : size(0); }  // of the share, in front of this side's
    };
    Features features_of_share(int64_t share, int64_t shares) const {
        Features found;
        int64_t low = share * feature_groups() / shares, high = (share + 1) * feature_groups() / shares;
        for (int side = 0; side < 2; side++) {
            int64_t groups = feature_groups(side);
            found.low[side] = std::min(std::min(std::max<int64_t>(low, 0), groups) * ROWS, depth(side));
            found.high[side] = std::min(std::min(std::max<int64_t>(high, 0), groups) * ROWS, depth(side));
            low -= groups, high -= groups;
        }
        return found;
    }

    // For a chunk of tokens: per group of features, token by token, so that a tile reads contiguous memory.
    void pack_features(const T* const* from, int side, const Features& share, int64_t count, T* memory) const {
        in_groups(share.size(side), [&](auto size, int64_t row) {
            T* to = memory + (share.before(side) + row) * CHUNK;
            for (int64_t n = 0; n < count; n++, to += size)
                std::memcpy(to, from[n] + share.low[side] + row, size * sizeof(T));
        });
    }
    // The gates of a panel's columns of a chunk of tokens, and their sums.
    void pack_gates(const T* gate, int wide, int64_t count, T* copy, T* sums) const {
        auto pack = [&](auto vectors) {
            V sum[WIDE] = {};
            for (int64_t n = 0; n < count; n++, gate += columns, copy += vectors * LANES)
                for (int v = 0; v < vectors; v++) {
                    V values = load(gate + v * LANES);
                    store(copy + v * LANES, values);
                    sum[v] += values;
                }
            for (int v = 0; v < vectors; v++) store(sums + v * LANES, load(sums + v * LANES) + sum[v]);
        };
        wide == WIDE ? pack(std::integral_constant<int, WIDE>()) : pack(wide);
    }

    // Share `number` of `shares` of the gate panels of a direction, with a share of the features.
    void weight_gradients(int64_t d, int64_t number, int64_t shares, const Features& share) const {
        int64_t low = number * panels() / shares, high = (number + 1) * panels() / shares;
        int64_t each = (1 + share.size()) * PANEL;  // sums of a panel: of the gates, and of the gates times every feature
        Buffer features_memory(sizeof(T) * CHUNK * share.size()), gates_memory(sizeof(T) * CHUNK * PANEL);
        Buffer sums_memory(sizeof(T) * (high - low) * each);
        T *packed = features_memory.as<T>(), *gates_copy = gates_memory.as<T>(), *sums = sums_memory.as<T>();
        std::fill(sums, sums + (high - low) * each, T(0));
        std::vector<const T*> features_of[2] = {std::vector<const T*>(CHUNK), std::vector<const T*>(CHUNK)};
        int64_t b = 0, t = 0;
        for (int64_t first = 0; first < tokens; first += CHUNK) {
            if (seqtwin::interrupted()) return;
            int64_t count = std::min(CHUNK, tokens - first);
            for (int64_t n = 0; n < count; n++) {
                while (t == q.lengths[b]) b++, t = 0;
                int64_t before = d == 0 ? t - 1 : t + 1;
                features_of[0][n] = token_x(b, t);
                const T* start = q.h_0 ? h_0(d, b) : zeros.data();
                features_of[1][n] = before >= 0 && before < q.lengths[b] ? token_h(d, b, before) : start;
                t++;
            }
            for (int side = 0; side < 2; side++) pack_features(features_of[side].data(), side, share, count, packed);
            for (int64_t panel = low; panel < high; panel++) {
                T* to = sums + (panel - low) * each;
                int wide = width_of(panel);
                pack_gates(gate_store[d] + first * columns + panel * PANEL, wide, count, gates_copy, to);
                for (int side = 0; side < 2; side++) {
                    int from = side == 0 ? 0 : skip_h(), used = side == 0 ? std::min(wide, from_x()) : wide - from;
                    in_groups(share.size(side), [&](int64_t size, int64_t row) {
                        int64_t place = share.before(side) + row;
                        outer_of(size, used)(to + (1 + place) * PANEL + from * LANES, count, packed + place * CHUNK,
                                             gates_copy + from * LANES, wide * LANES);
                    });
                }
            }
        }
        for (int64_t panel = low; panel < high; panel++)
            for (int side = 0; side < 2; side++) unpack_gradients(d, side, panel, share, sums + (panel - low) * each);
    }
    void unpack_gradients(int64_t d, int side, int64_t panel, const Features& share, const T* sums) const {
        T* bias = static_cast<T*>(side == 0 ? q.d_bias_ih[d] : q.d_bias_hh[d]);
        T* weight = static_cast<T*>(side == 0 ? q.d_weight_ih[d] : q.d_weight_hh[d]);
        const T* from = sums + (1 + share.before(side)) * PANEL;
        int64_t low = share.low[side], high = share.high[side];
        for (int64_t start = low; start < high; start += 16) {  // a transposed block of 16 stays in the cache
            int64_t end = std::min(high, start + 16);
            for (int64_t j = 0; j < width_of(panel) * LANES; j++) {
                int64_t row = weight_row(side, panel * PANEL + j);
                if (row < 0) continue;
                if (start == 0 && bias) bias[row] = sums[j];
                for (int64_t k = start; weight && k < end; k++)
                    weight[row * depth(side) + k] = from[(k - low) * PANEL + j];
            }
        }
    }

    bool backward() const {
        int64_t each = used_columns() * PANEL, hidden_panels = panels_of(q.hidden), input_panels = panels_of(q.inputs);
        int64_t recurrent = q.directions * hidden_panels, incoming = q.d_x ? input_panels * q.directions : 0;
        Buffer memory(sizeof(T) * each * (recurrent + incoming));
        T *packed_h = memory.as<T>(), *packed_x = packed_h + recurrent * each;
        auto pack = [&](int64_t n) {
            seqtwin::phase = seqtwin::PACK;
            int64_t part = n % panels();
            n /= panels();
            if (n < recurrent) {
                pack_backward(1, n / hidden_panels, n % hidden_panels, part, packed_h + n * each);
            } else {
                n -= recurrent;
                pack_backward(0, n % q.directions, n / q.directions, part, packed_x + n * each);
            }
        };
        auto rows = dealt_rows();
        int64_t count = rows.size();
        auto item = [&](int64_t n) {
            seqtwin::phase = seqtwin::BACKWARD;
            int64_t d = n / count;
            backward_item(d, rows[n % count], packed_h + d * hidden_panels * each);
        };
        if (!seqtwin::parallel_for((recurrent + incoming) * panels(), threads(), pack)) return false;
        if (!seqtwin::parallel_for(q.directions * count, threads(), item)) return false;
        // As many shares as threads, as each copies the features and the gates that it multiplies: of panels first, then of
        // the groups of features. The blocks after them balance the load.
        int64_t wanted = (threads() + q.directions - 1) / q.directions, panel_shares = std::min(panels(), wanted);
        int64_t feature_shares = std::min(feature_groups(), (wanted + panel_shares - 1) / panel_shares);
        int64_t shares = panel_shares * feature_shares;
        int64_t blocks = q.d_x ? (tokens + BLOCK - 1) / BLOCK : 0;
        auto rest = [&](int64_t n) {
            bool weights = n < q.directions * shares;
            seqtwin::phase = weights ? seqtwin::WEIGHT_GRADIENT : seqtwin::INPUT_GRADIENT;
            if (weights) {
                int64_t d = n / shares, share = n % shares;
                Features features = features_of_share(share % feature_shares, feature_shares);
                weight_gradients(d, share / feature_shares, panel_shares, features);
            } else if (!seqtwin::interrupted()) {
                input_block(n - q.directions * shares, packed_x);
            }
        };
        return seqtwin::parallel_for(q.directions * shares + blocks, threads(), rest);
    }
};

template <class T> Build build_of() {
    return {[](const Problem& q, int64_t tokens) { return Layer<T>::saved_bytes(q, tokens); },
            [](const Problem& q) { return Layer<T>(q).panels() * Layer<T>::PANEL; },
            [](const Problem& q) { return sizeof(T) * Layer<T>(q).packed_size(); },
            [](const Problem& q) { return Layer<T>(q).pack(static_cast<T*>(q.packed)); },
            [](const Problem& q) { return Layer<T>(q).forward(); },
            [](const Problem& q) { return Layer<T>(q).backward(); }};
}

}  // namespace

#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
extern "C" Build NAME(seqtwin_build_, TARGET)(bool float64) { return float64 ? build_of<double>() : build_of<float>(); }
