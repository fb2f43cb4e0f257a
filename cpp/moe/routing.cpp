#include "routing.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace rlshare {
namespace {

// Of a sigmoid: those of selected experts may all underflow, and their sum divides the gates.
constexpr float kLeastSigmoid = 1e-20f;

// The k largest of values [n], the lowest index first among equals, in descending order.
void select(const float* values, std::size_t n, std::size_t k, std::int32_t* best) {
  std::size_t held = 0;
  for (std::size_t e = 0; e < n; ++e) {
    std::size_t place = held;
    while (place > 0 && values[e] > values[best[place - 1]]) --place;
    if (place == k) continue;
    if (held < k) ++held;
    for (std::size_t i = held - 1; i > place; --i) best[i] = best[i - 1];
    best[place] = static_cast<std::int32_t>(e);
  }
}

// Probabilities of one row; returns the log-sum-exp of its logits.
float softmax(const float* logits, std::size_t n, float* p) {
  const float most = *std::max_element(logits, logits + n);
  float sum = 0;
  for (std::size_t e = 0; e < n; ++e) sum += p[e] = std::exp(logits[e] - most);
  const float scale = 1 / sum;
  for (std::size_t e = 0; e < n; ++e) p[e] *= scale;
  return most + std::log(sum);
}

void check(const std::int32_t* given, std::size_t k, std::size_t n_experts) {
  for (std::size_t j = 0; j < k; ++j) {
    const std::int32_t e = given[j];
    if (e < 0 || static_cast<std::size_t>(e) >= n_experts || std::count(given, given + j, e))
      throw std::invalid_argument("given experts must be distinct and in [0, " +
                                  std::to_string(n_experts) + "), got " + std::to_string(e));
  }
}

// Gates are p / t over the selected, where t is their sum; alone, a gate is p itself.
float gate_divisor(const float* p, const std::int32_t* experts, std::size_t k) {
  if (k == 1) return 1;
  float sum = 0;
  for (std::size_t j = 0; j < k; ++j) sum += p[experts[j]];
  return sum;
}

// Softmax over the selected logits, from the logits: their probabilities may all underflow.
void softmax_of_selected(const float* logits, const std::int32_t* experts, std::size_t k,
                         float* gates) {
  float most = logits[experts[0]], sum = 0;
  for (std::size_t j = 1; j < k; ++j) most = std::max(most, logits[experts[j]]);
  for (std::size_t j = 0; j < k; ++j) sum += gates[j] = std::exp(logits[experts[j]] - most);
  for (std::size_t j = 0; j < k; ++j) gates[j] /= sum;
}

// Column means of the probabilities, those of sigmoids divided by their row's sum.
std::vector<double> mean_probabilities(const RoutingRules& rules, const Routes& routes) {
  const std::size_t n_experts = rules.n_experts;
  std::vector<double> mean(n_experts, 0.0);
  for (std::size_t i = 0; i < routes.n; ++i) {
    const float* p = routes.probabilities.get() + i * n_experts;
    double scale = 1;
    if (rules.gate == Gate::sigmoid) {
      double sum = 0;
      for (std::size_t e = 0; e < n_experts; ++e) sum += p[e];
      scale = 1 / sum;
    }
    for (std::size_t e = 0; e < n_experts; ++e) mean[e] += scale * p[e];
  }
  for (double& m : mean) m /= static_cast<double>(routes.n);
  return mean;
}

double entropy_loss(const std::vector<double>& mean, double n, Routes& routes, double coef) {
  double loss = 0;
  for (std::size_t e = 0; e < mean.size(); ++e) {
    const double log_mean = std::log(std::max(mean[e], 1e-30));
    loss += mean[e] * log_mean;
    routes.d_mean[e] = static_cast<float>(coef * (log_mean + 1) / n);
  }
  return loss;
}

double switch_loss(const std::vector<double>& mean, const RoutingRules& rules, Routes& routes) {
  const double n_experts = static_cast<double>(rules.n_experts);
  const std::size_t pairs = routes.n * rules.top_k;
  std::vector<double> share(rules.n_experts, 0.0);
  for (std::size_t p = 0; p < pairs; ++p)
    share[static_cast<std::size_t>(routes.experts[p])] += 1 / static_cast<double>(pairs);
  double loss = 0;
  for (std::size_t e = 0; e < rules.n_experts; ++e) {
    loss += n_experts * share[e] * mean[e];
    routes.d_mean[e] = static_cast<float>(rules.balance_coef * n_experts * share[e] /
                                          static_cast<double>(routes.n));
  }
  return loss;
}

double importance_loss(const RoutingRules& rules, Routes& routes) {
  const double n_experts = static_cast<double>(rules.n_experts);
  std::vector<double> sums(rules.n_experts, 0.0);
  for (std::size_t p = 0; p < routes.n * rules.top_k; ++p)
    sums[static_cast<std::size_t>(routes.experts[p])] += routes.gates[p];
  double mean = 0, variance = 0;
  for (const double s : sums) mean += s / n_experts;
  for (const double s : sums) variance += (s - mean) * (s - mean) / n_experts;
  for (std::size_t e = 0; e < rules.n_experts; ++e)
    routes.d_gate[e] =
        static_cast<float>(rules.balance_coef * 2 / n_experts *
                           ((sums[e] - mean) / (mean * mean) - variance / (mean * mean * mean)));
  return variance / (mean * mean);
}

// Of probabilities that are sigmoids, divided by their sum.
float entropy_of_sigmoids(const float* p, std::size_t n) {
  float sum = 0, entropy = 0;
  for (std::size_t e = 0; e < n; ++e) sum += p[e];
  for (std::size_t e = 0; e < n; ++e)
    if (p[e] > 0) entropy -= p[e] / sum * std::log(p[e] / sum);
  return entropy;
}

}  // namespace

Routes make_routes(const RoutingRules& rules, std::size_t n, bool learning) {
  Routes routes;
  routes.n = n;
  routes.probabilities = uninitialised<float>(n * rules.n_experts);
  routes.experts = uninitialised<std::int32_t>(n * rules.top_k);
  routes.gates = uninitialised<float>(n * rules.top_k);
  if (learning) routes.entropies = uninitialised<float>(n);
  if (learning && rules.z_coef != 0) routes.log_sums = uninitialised<float>(n);
  return routes;
}

void route(const RoutingRules& rules, const float* logits, std::size_t begin, std::size_t end,
           const float* bias, const std::int32_t* given, Routes& routes) {
  const std::size_t n_experts = rules.n_experts, k = rules.top_k;
  std::vector<float> biased(bias ? n_experts : 0);
  for (std::size_t i = begin; i < end; ++i) {
    const float* l = logits + i * n_experts;
    float* p = routes.probabilities.get() + i * n_experts;
    std::int32_t* experts = routes.experts.get() + i * k;
    float* gates = routes.gates.get() + i * k;
    if (rules.gate == Gate::softmax) {
      const float log_sum = softmax(l, n_experts, p);
      if (routes.log_sums) routes.log_sums[i] = log_sum;
      if (routes.entropies) {  // -sum p log p = log_sum - sum p l
        float mean = 0;
        for (std::size_t e = 0; e < n_experts; ++e) mean += p[e] * l[e];
        routes.entropies[i] = log_sum - mean;
      }
    } else {
      for (std::size_t e = 0; e < n_experts; ++e)
        p[e] = std::max(1 / (1 + std::exp(-l[e])), kLeastSigmoid);
      if (routes.entropies) routes.entropies[i] = entropy_of_sigmoids(p, n_experts);
    }
    if (given) {
      check(given + i * k, k, n_experts);
      std::copy_n(given + i * k, k, experts);
    } else if (bias) {
      for (std::size_t e = 0; e < n_experts; ++e) biased[e] = p[e] + bias[e];
      select(biased.data(), n_experts, k, experts);
    } else {
      select(l, n_experts, k, experts);
    }
    if (rules.gate == Gate::softmax && k > 1) {
      softmax_of_selected(l, experts, k, gates);
    } else {
      const float divisor = gate_divisor(p, experts, k);
      for (std::size_t j = 0; j < k; ++j) gates[j] = p[experts[j]] / divisor;
    }
  }
}

void add_losses(const RoutingRules& rules, Routes& routes) {
  routes.d_mean.assign(rules.n_experts, 0.0f);
  routes.d_gate.assign(rules.n_experts, 0.0f);
  double loss = 0;
  if (rules.balance == Balance::importance) {
    loss = rules.balance_coef * importance_loss(rules, routes);
  } else if (rules.balance != Balance::none) {
    const std::vector<double> mean = mean_probabilities(rules, routes);
    loss = rules.balance_coef *
           (rules.balance == Balance::entropy
                ? entropy_loss(mean, static_cast<double>(routes.n), routes, rules.balance_coef)
                : switch_loss(mean, rules, routes));
  }
  if (rules.z_coef != 0)
    for (std::size_t i = 0; i < routes.n; ++i)
      loss +=
          rules.z_coef * routes.log_sums[i] * routes.log_sums[i] / static_cast<double>(routes.n);
  routes.loss = static_cast<float>(loss);
}

void route_backward(const RoutingRules& rules, const Routes& routes, const float* d_gates,
                    std::size_t begin, std::size_t end, float* d_logits) {
  const std::size_t n_experts = rules.n_experts, k = rules.top_k;
  const float z_scale = 2 * rules.z_coef / static_cast<float>(routes.n);
  std::vector<float> d_p(n_experts), d_g(k);
  for (std::size_t i = begin; i < end; ++i) {
    const float* p = routes.probabilities.get() + i * n_experts;
    const std::int32_t* experts = routes.experts.get() + i * k;
    const float* gates = routes.gates.get() + i * k;
    float* d_l = d_logits + i * n_experts;

    // through the normalised probabilities q: d_p = (d_q - sum q d_q) / sum p
    float sum_p = 1, mean = 0;
    if (rules.gate == Gate::sigmoid) {
      sum_p = 0;
      for (std::size_t e = 0; e < n_experts; ++e) sum_p += p[e];
    }
    for (std::size_t e = 0; e < n_experts; ++e) mean += p[e] / sum_p * routes.d_mean[e];
    for (std::size_t e = 0; e < n_experts; ++e) d_p[e] = (routes.d_mean[e] - mean) / sum_p;

    float dot = 0;
    for (std::size_t j = 0; j < k; ++j) {
      d_g[j] = d_gates[i * k + j] + routes.d_gate[experts[j]];
      dot += gates[j] * d_g[j];
    }
    if (rules.gate == Gate::sigmoid) {
      const float divisor = gate_divisor(p, experts, k);
      for (std::size_t j = 0; j < k; ++j)
        d_p[experts[j]] += k == 1 ? d_g[j] : (d_g[j] - dot) / divisor;
      for (std::size_t e = 0; e < n_experts; ++e)
        d_l[e] = p[e] > kLeastSigmoid ? d_p[e] * p[e] * (1 - p[e]) : 0;
      continue;
    }
    const float through_all = k == 1 ? dot : 0;  // of g = p, to the other logits
    for (std::size_t e = 0; e < n_experts; ++e) d_l[e] = p[e] * (d_p[e] - through_all);
    for (std::size_t j = 0; j < k; ++j)
      d_l[experts[j]] += gates[j] * (k == 1 ? d_g[j] : d_g[j] - dot);
    if (routes.log_sums)
      for (std::size_t e = 0; e < n_experts; ++e) d_l[e] += z_scale * routes.log_sums[i] * p[e];
  }
}

void plan(const RoutingRules& rules, const Routes& routes, Plan& out) {
  const std::size_t pairs = routes.n * rules.top_k;
  out.offsets.assign(rules.n_experts + 1, 0);
  for (std::size_t p = 0; p < pairs; ++p)
    ++out.offsets[static_cast<std::size_t>(routes.experts[p]) + 1];
  for (std::size_t e = 0; e < rules.n_experts; ++e) out.offsets[e + 1] += out.offsets[e];
  out.rows.resize(pairs);
  out.places.resize(pairs);
  std::vector<std::size_t> next(out.offsets.begin(), out.offsets.end() - 1);
  for (std::size_t p = 0; p < pairs; ++p) {
    const std::size_t at = next[static_cast<std::size_t>(routes.experts[p])]++;
    out.rows[at] = static_cast<std::int32_t>(p / rules.top_k);
    out.places[at] = static_cast<std::int32_t>(p);
  }
}

}  // namespace rlshare
