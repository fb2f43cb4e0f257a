#include "experts.h"

#include <algorithm>

#include "../common/blocks.h"
#include "rows.h"
#include "team.h"

namespace rlshare {
namespace {

// Multiply-adds below which a second thread costs more than it saves.
constexpr std::size_t kThreadedWork = 1 << 20;

// Rows by place in the plan, kept from call to call: a training step allocates none of it again.
struct Memory {
  std::vector<const float*> x, d_y, hidden, gradient, scaled, gate, one;
  std::vector<float*> to, to_hidden;
  std::vector<float> gates;
  Block gradients, scaled_hidden;
};

Memory& memory() {
  thread_local Memory kept;
  return kept;
}

// One pass over the experts. A single thread takes one expert through all steps, while its rows are
// in the cache; several take the steps one after another, each cut into parts.
class Pass {
 public:
  Pass(const Experts& experts, const Plan& plan, const float* gates, const float* x,
       std::size_t n_threads)
      : experts_(experts),
        plan_(plan),
        n_pairs_(plan.rows.size()),
        n_threads_(n_pairs_ * experts.width * experts.hidden < kThreadedWork ? 1 : n_threads),
        n_parts_(n_threads_ == 1 ? 1 : 2 * n_threads_),
        m_(memory()) {
    rows_of(x, experts.width, plan.rows, m_.x);
    m_.gates.resize(n_pairs_);
    for (std::size_t p = 0; p < n_pairs_; ++p)
      m_.gates[p] = gates[static_cast<std::size_t>(plan.places[p])];
  }

  void forward(std::size_t n, float* hidden, float* y, float* magnitudes) {
    rows_of(hidden, h_, n_pairs_, m_.to_hidden);
    rows_of(static_cast<const float*>(hidden), h_, n_pairs_, m_.hidden);
    rows_of(y, d_, plan_.rows, m_.to);
    run([&](std::size_t e, std::size_t part) { to_output(e, part, y, n); },
        [&](std::size_t e, std::size_t part) { to_hidden(e, part, magnitudes); });
  }

  void backward(std::size_t n, const float* hidden, const float* d_y, float* d_gates,
                const ExpertGradients& out) {
    static const float one = 1;
    float* gradients = grown(m_.gradients, n_pairs_ * h_);
    const float* scaled = grown(m_.scaled_hidden, n_pairs_ * h_);
    const float* gates = m_.gates.data();
    rows_of(d_y, d_, plan_.rows, m_.d_y);
    rows_of(hidden, h_, n_pairs_, m_.hidden);
    rows_of(gradients, h_, n_pairs_, m_.to_hidden);
    rows_of(static_cast<const float*>(gradients), h_, n_pairs_, m_.gradient);
    rows_of(scaled, h_, n_pairs_, m_.scaled);
    rows_of(gates, 1, n_pairs_, m_.gate);
    m_.one.assign(n_pairs_, &one);
    if (out.x) rows_of(out.x, d_, plan_.rows, m_.to);
    run(
        [&](std::size_t e, std::size_t part) {
          if (out.x) to_input(e, part, out.x, n);
        },
        [&](std::size_t e, std::size_t part) { to_hidden_gradient(e, part); },
        [&](std::size_t e, std::size_t part) { to_gates(e, part, d_gates); },
        [&](std::size_t e, std::size_t part) { to_weights(e, part, out); });
  }

 private:
  // Part `part` of n, in multiples of `unit`.
  Columns cut(std::size_t n, std::size_t part, std::size_t unit) const {
    const auto edge = [&](std::size_t i) {
      return i == n_parts_ ? n : n * i / n_parts_ / unit * unit;
    };
    return {edge(part), edge(part + 1)};
  }
  Columns columns(std::size_t n, std::size_t part) const { return cut(n, part, 32); }

  std::size_t begin(std::size_t e) const { return plan_.offsets[e]; }
  std::size_t size(std::size_t e) const { return plan_.offsets[e + 1] - plan_.offsets[e]; }

  // Every step of every expert and part; `add`, which adds to rows that experts share, in the order
  // of the experts.
  template <typename Add, typename... Steps>
  void run(Add add, Steps... steps) {
    const std::size_t n_experts = experts_.n_experts;
    if (n_parts_ == 1) {
      for (std::size_t e = 0; e < n_experts; ++e) {
        (steps(e, 0), ...);
        add(e, 0);
      }
      return;
    }
    (team_for(n_experts * n_parts_, n_threads_,
              [&](std::size_t task) { steps(task / n_parts_, task % n_parts_); }),
     ...);
    team_for(n_parts_, n_threads_, [&](std::size_t part) {
      for (std::size_t e = 0; e < n_experts; ++e) add(e, part);
    });
  }

  void to_hidden(std::size_t e, std::size_t part, float* magnitudes) const {
    Output out = {m_.to_hidden.data() + begin(e), experts_.b1 + e * h_};
    out.magnitudes = magnitudes ? magnitudes + e * h_ : nullptr;
    out.activation = experts_.activation;
    kernels_.times(m_.x.data() + begin(e), size(e), d_, w1(e), columns(h_, part), out,
                   scratch(panel_size(d_)));
  }

  void to_output(std::size_t e, std::size_t part, float* y, std::size_t n) const {
    if (e == 0) clear(y, n, columns(d_, part));
    Output out = {m_.to.data() + begin(e), experts_.b2 + e * d_, m_.gates.data() + begin(e)};
    out.add = true;
    kernels_.times(m_.hidden.data() + begin(e), size(e), h_, w2(e), columns(d_, part), out,
                   scratch(panel_size(h_)));
  }

  // Of the experts' outputs before their gates: d_y W2^T.
  void to_hidden_gradient(std::size_t e, std::size_t part) const {
    kernels_.times_transpose(m_.d_y.data() + begin(e), size(e), d_, w2(e), columns(h_, part),
                             {m_.to_hidden.data() + begin(e)}, scratch(panel_size(d_)));
  }

  // <d_y, expert(x)> = <d_y W2^T, f> + <d_y, b2>, without the experts' outputs; then the gradient
  // at the input of f, behind the gate.
  void to_gates(std::size_t e, std::size_t part, float* d_gates) {
    const Columns rows = cut(size(e), part, 1);
    for (std::size_t p = begin(e) + rows.begin; p < begin(e) + rows.end; ++p)
      d_gates[plan_.places[p]] =
          kernels_.backward(experts_.activation, m_.hidden[p], m_.to_hidden[p], m_.gates[p],
                            m_.scaled_hidden.get() + p * h_, h_) +
          kernels_.dot(m_.d_y[p], experts_.b2 + e * d_, d_);
  }

  // x^T gradient and (gate f)^T d_y, and sums over rows for the biases.
  void to_weights(std::size_t e, std::size_t part, const ExpertGradients& out) const {
    const std::size_t at = begin(e), n = size(e);
    const Columns inner = columns(h_, part), outer = columns(d_, part);
    const auto product = kernels_.transpose_times;
    product(m_.x.data() + at, m_.gradient.data() + at, n, d_, inner, out.w1 + e * d_ * h_, h_);
    product(m_.one.data() + at, m_.gradient.data() + at, n, 1, inner, out.b1 + e * h_, h_);
    product(m_.scaled.data() + at, m_.d_y.data() + at, n, h_, outer, out.w2 + e * h_ * d_, d_);
    product(m_.gate.data() + at, m_.d_y.data() + at, n, 1, outer, out.b2 + e * d_, d_);
  }

  void to_input(std::size_t e, std::size_t part, float* d_x, std::size_t n) const {
    if (e == 0) clear(d_x, n, columns(d_, part));
    Output out = {m_.to.data() + begin(e)};
    out.add = true;
    kernels_.times_transpose(m_.gradient.data() + begin(e), size(e), h_, w1(e), columns(d_, part),
                             out, scratch(panel_size(h_)));
  }

  void clear(float* rows, std::size_t n, Columns columns) const {
    for (std::size_t i = 0; i < n; ++i)
      std::fill(rows + i * d_ + columns.begin, rows + i * d_ + columns.end, 0.0f);
  }

  Matrix w1(std::size_t e) const { return {experts_.w1 + e * d_ * h_, h_}; }
  Matrix w2(std::size_t e) const { return {experts_.w2 + e * h_ * d_, d_}; }

  const Products& kernels_ = products();
  const Experts& experts_;
  const Plan& plan_;
  std::size_t n_pairs_, n_threads_, n_parts_;
  const std::size_t d_ = experts_.width, h_ = experts_.hidden;
  Memory& m_;
};

}  // namespace

void experts_forward(const Experts& experts, const Plan& plan, const float* gates, const float* x,
                     std::size_t n, float* hidden, float* y, float* magnitudes,
                     std::size_t n_threads) {
  Pass(experts, plan, gates, x, n_threads).forward(n, hidden, y, magnitudes);
}

void experts_backward(const Experts& experts, const Plan& plan, const float* gates, const float* x,
                      std::size_t n, const float* hidden, const float* d_y, float* d_gates,
                      const ExpertGradients& out, std::size_t n_threads) {
  Pass(experts, plan, gates, x, n_threads).backward(n, hidden, d_y, d_gates, out);
}

}  // namespace rlshare
