"""Why some mutants of theory survive: places where a number may be another without any result changing, and gaps that remain.

An equivalent mutant changes how long something takes, or nothing at all, but no result beyond the accuracy that is promised. It is named by
file and a piece of its line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

__all__ = ["OPEN", "UNCHANGED", "reason"]


class Place(Protocol):
    """What `reason` needs to know of a mutant."""

    @property
    def path(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def old(self) -> str: ...


_Reasons = Mapping[str, Sequence[tuple[str, str, str]]]
"""Why → places: module of theory, a piece of its line, the number that may change (or "*" for any on the line)."""

_UNCHANGED: _Reasons = {
    "which contours are compared, and how closely: the integral is the same along each, and one that grows is not taken": [
        ("finite_width_laws.py", "w = np.linspace(0, 12, 121)", "*"),
        ("finite_width_laws.py", "across, along = np.sinh(w), np.cosh(w) - 1", "1"),
        ("finite_width_laws.py", "outward = np.where(values >= 0, 0.5, -0.5)", "0.5"),
        ("finite_width_laws.py", "for factor in (1.0, 0.0, -1.0):", "*"),
        ("finite_width_laws.py", "for tilt in (-0.35, 0.0, 0.35):", "*"),
    ],
    "a margin of 1e-100 is 0": [
        ("reductions.py", "if end * (1 + q) < 1 / LARGEST:", "1"),
    ],
    "how far a search for a threshold goes: beyond it only more pairs take the exact route": [
        ("_transforms.py", "supplements = angles[angles <= 0.6]", "0.6"),
    ],
    "the same number: one is far below its rounding": [
        ("_validation.py", "LARGEST = 1e100", "1e100"),
    ],
    "size of a block, a tile, a cache or a pool: memory and speed only": [
        ("_validation.py", "block: int = 256", "256"),
        ("_chebyshev.py", "@lru_cache(maxsize=512)", "512"),
        ("_pairwise.py", "_TILE_ROWS, _TILE_COLUMNS = 128, 256", "*"),
        ("_parallel.py", "_BLOCK = 32768", "32768"),
        ("_parallel.py", "return min(multiprocessing.cpu_count(), 8)", "8"),
        ("_parallel.py", "if workers <= 1:", "1"),
        ("_parallel.py", "if len(starts) <= 2:", "2"),
        ("_profile.py", "@lru_cache(maxsize=64)", "64"),
        ("_rows.py", "_CHUNK = 2**18", "18"),
        ("_rows.py", "for part in _chunks(i.size, 4 * left.unit.shape[1])", "4"),
        ("_rows.py", "size = max(1, _CHUNK // dimension)", "1"),
        ("angles.py", "@lru_cache(maxsize=256)", "256"),
        ("initialization_law.py", "_CHUNK = 2048", "2048"),
        ("segments.py", "chunk = max(1, _MAX_PRODUCT", "1"),
        ("finite_width_laws.py", "_CHUNK = 4096", "4096"),
        ("finite_width_laws.py", "_BLOCK = 64", "64"),
        ("packed.py", "_COLUMNS = 4096", "4096"),
        ("segments.py", "_MAX_PRODUCT = 1 << 24", "*"),
        ("segments.py", "chunk = max(1, _MAX_PRODUCT // (kernel.shape[0]", "0"),
    ],
    "where α is 0 it stays 0, whatever the margin's growth": [
        ("alpha.py", "move = np.where(alpha > 0, speed", "0"),
        ("alpha.py", "np.where(moves, target, 0)", "*"),
    ],
    "where an iteration starts or stops that converges from anywhere: how many steps it takes, not where it ends": [
        ("alpha.py", "linear = np.where(target > 0, target / slope0, 0)", "0"),
        ("initialization_law.py", "low, high = size.copy(), (1 + tau) * size + 1e-300", "1"),
        ("reductions.py", "first = 1e-3 * min(end, 1 / (1 + q))", "1"),
        ("alpha.py", "for _ in range(100):", "100"),
        ("alpha.py", "if (np.abs(new - v) <= 2 * np.finfo", "2"),
        ("angles.py", "theta = np.minimum(2.0 * target / (linear", "2.0"),
        ("angles.py", "for _ in range(100):", "100"),
        ("alpha.py", "slope0 = delta + (1 - delta) * a", "1"),
        ("alpha.py", "late = np.where(a > 0, target - (1 - delta)", "1"),
        ("alpha.py", "v = np.where(a <= 1, np.minimum(linear, late), linear)", "1"),
        ("finite_width_laws.py", "690.0 if math.isinf(near) else 34.0", "*"),
        ("finite_width_laws.py", "for _ in range(64):", "64"),
        ("angles.py", "linear = depth / (2.0 * np.pi)", "*"),
        ("angles.py", "newton = theta - residual * (depth + 1)", "1"),
        ("angles.py", "settled = np.abs(update - theta)", "2.0"),
        ("initialization_law.py", "high = np.where(short, 2 * high + 1, high)", "*"),
        ("step_size.py", "value, combination = 0.0, np.ones(1)", "*"),
        ("initialization_law.py", "for _ in range(60):", "60"),
        ("reductions.py", "shared = -q * np.array([(1 - delta) * d[0]", "*"),  # the Jacobian of an implicit method
        ("alpha.py", "step = (delta * v + (1 - delta) * log_term - target)", "1"),  # the slope of Newton's method
        ("step_size.py", "q = 1 + np.cos(np.sqrt(2) * np.arange(n", "2"),
        ("step_size.py", "for _ in range(2):", "2"),
    ],
    "the upper end of a bracket: the first change of sign in it is the root": [
        ("angles.py", "return _root(lambda theta: 2.0 - shallow_gradient_gap(theta)", "1"),
        ("angles.py", "return _root(lambda theta: gradient_gap(theta, depth) / (depth + 1)", "0.5"),
    ],
    "any number above π/2 gives the same next one": [
        ("angles.py", "limit = np.nextafter(angle.dtype.type(0.5 * np.pi)", "4"),
    ],
    "one node more in each round of a search that ends a last digit from the root": [
        ("angles.py", "grid = np.linspace(low, high, 65)", "65"),
    ],
    "when a bracket is a few last digits wide: its middle moves by one of them": [
        ("angles.py", "<= 2.0 * np.spacing(high):", "2.0"),
    ],
    "axis or length that is the other one's equal here: square kernels, or −1 that takes what is left": [
        ("dynamics.py", "return int(self.kernel.shape[0])", "0"),
        ("_pairwise.py", "upper = np.triu_indices(values.shape[0], 1)", "0"),
        ("dynamics.py", "n = k.shape[0]", "0"),
        ("initialization.py", "n = k.shape[0]", "0"),
        ("_validation.py", "array.shape[0] != n", "0"),
        ("eigen_alignment.py", "n = k.shape[0]", "0"),
        ("initialization.py", "mean_flip = np.ones(k.shape[0])", "0"),
        ("initialization_law.py", "signs = binary_signs(truth, k.shape[0]", "0"),
        ("truth_gradient.py", "n_classes = g.shape[-1] // 3", "1"),
        ("initialization_law.py", "else check_kernel(kernel, n=k.shape[0])", "0"),
        ("early_stopping.py", "n = k.shape[0]", "0"),
        ("packed.py", "return self.shape[0]", "0"),
        ("step_size.py", "return float(2 * k.shape[0]", "0"),
        ("step_size.py", "if k.shape[0] <= _DENSE:", "0"),
        ("step_size.py", "n = k.shape[0]", "0"),
        ("step_size.py", "shifted.flat[:: k.shape[0] + 1]", "0"),
        ("segments.py", "n_classes = g.shape[-1] // 2", "1"),
        ("segments.py", "g.shape[-1] % 2", "1"),
        ("truth_gradient.py", "g.shape[-1] % 3", "1"),
        ("initialization.py", "signs = binary_signs(truth, k.shape[0]", "0"),
        ("initialization.py", "signs = binary_signs(observed, k.shape[0]", "0"),
        ("initialization.py", "return np.asarray(signs * (k @ signs) / k.shape[0])", "0"),
    ],
    "any negative length means: what is left": [
        ("dynamics.py", "change = (duals.reshape(times * rows, n)", "1"),
        ("dynamics.py", 'classes = (shape[1], -1, shape[0]) if loss == "softmax"', "1"),
        ("_parallel.py", "flat = np.ascontiguousarray(values).reshape(-1)", "1"),
        ("flow.py", "classes = (problem.shape[1], -1, problem.n)", "*"),
        ("dynamics.py", "return np.ascontiguousarray(full.reshape(shape[0], -1).T)", "1"),
        ("packed.py", "columns = values.reshape(values.shape[0], -1)", "*"),
        ("segments.py", "flat = np.moveaxis(weights[start:stop], 1, 0).reshape(rows.size, -1)", "1"),
        ("segments.py", "product = (block.T @ flat).reshape(-1, stop - start, n_outputs)", "1"),
        ("finite_width_drift.py", 'm, columns = check_integer(width, "width")', "1"),
        ("initialization.py", "rows = r.reshape(n, -1)", "1"),
        ("segments.py", "parts = segment_parts(segments, r.reshape(1, segments.n, -1))", "1"),
        ("segments.py", "products = (kernel @ weights.reshape(len(kernel), -1))", "1"),
        ("truth_gradient.py", "shape = (observed.shape[0], segments.n, -1)", "1"),
    ],
    "a placeholder: it is multiplied by a step count of zero, and not taken": [
        ("early_stopping.py", "exponent = np.where(steps == 0, 0.0", "0.0"),
    ],
    "the first upper end is a lower bound of the time: it is the answer itself, or the next lower end": [
        ("eigen_alignment.py", "low = 0.0", "0.0"),
    ],
    "by how much a bracket grows before it is halved": [
        ("eigen_alignment.py", "low, high = high, 2 * high", "2"),
    ],
    "one term, stage, node or step more than the accuracy needs (the 18th term is below 1e-22)": [
        ("_arc_cosine.py", "_SERIES = tuple(", "18"),
    ],
    "the last Taylor term is below the rounding of the sum": [
        ("_arc_cosine.py", "value = np.full_like(square, _SERIES[-1])", "1"),
    ],
    "the last Taylor terms are below the rounding of the sum": [
        ("_arc_cosine.py", "_SERIES[-2::-1]", "2"),
    ],
    "step control of an error-controlled integrator: the tolerance is kept, the number of steps changes": [
        ("_chebyshev.py", "_DAMPING = 2 / 13", "13"),
        ("flow.py", "allowance = self.tolerance * (s / 10)", "*"),
        ("flow.py", "if last_error > 0 and error > 0:", "*"),
        ("flow.py", "factor = min(factor, factor * (tau / last_tau)", "*"),
        ("flow.py", "self.radius, self.radius_time = self.radius_bound", "0.0"),
        ("flow.py", "reached_end = now + tau >=", "*"),
        ("flow.py", "factor = _SAFETY * error ** (-1 / 3)", "*"),
        ("flow.py", "tau *= max(0.1, _SAFETY * error ** (-1 / 3))", "*"),
        ("flow.py", "tau *= min(10.0, max(0.1, factor))", "*"),
        ("flow.py", "last_tau, last_error = tau, 0.0", "0.0"),
    ],
    "one term, stage, node or step more than the accuracy needs": [
        ("finite_width_laws.py", "_NEGLIGIBLE = -60.0", "60.0"),
        ("finite_width_laws.py", "term = np.exp(np.where(ended, 2 * _NEGLIGIBLE", "2"),
        ("finite_width_laws.py", "active = active[~ended[:, -1]", "1"),
        ("_chebyshev.py", "return max(2, 1 + int(np.sqrt(1 + 1.54 * z)))", "*"),
        ("_profile.py", "_INTERVALS = 1024", "1024"),
        ("_profile.py", "_DEGREE = 5", "5"),
        ("_profile.py", "_MIDDLE_INTERVALS, _MIDDLE_DEGREE = 12288, 3", "*"),
        ("finite_width_laws.py", "active = np.arange(max(0, m // 2 - reach)", "*"),
        ("finite_width_laws.py", "reach = math.ceil(6 * math.sqrt(m))", "*"),
        ("initialization_law.py", "z = np.linspace(-self.deviation - 9, 9, 2001)", "*"),
        ("initialization_law.py", "z = np.linspace(-9, 9, 401 + 2 * math.ceil(30 * tau))", "*"),
    ],
    "b_2 is set to itself": [
        ("_chebyshev.py", "b[:2] = b[2]", "2"),
    ],
    "b_0 = b_1 = b_2 by the line above": [
        ("_chebyshev.py", "return Coefficients(float(b[1] * w1)", "1"),
    ],
    "threshold between two routes that both keep the promised accuracy: speed only": [
        ("_profile.py", "index = np.minimum((np.log1p(scale * theta)", "*"),
        ("_profile.py", "slope = self.table[1, index]", "*"),
        ("_profile.py", "return np.asarray(np.abs(slope / self.table[0, index]))", "0"),
        ("_rows.py", "* (1.0 + 0.25 * math.sqrt(dimension))", "*"),
        ("step_size.py", "_DENSE = 300", "300"),
        ("alpha.py", "small = v + np.log(np.maximum(a, 1)) < 700", "*"),
        ("finite_width_laws.py", "below, above = values <= 0, values >= 0", "0"),
        ("_transforms.py", "angles = np.geomspace(1e-6, 1.2, 400)", "*"),
        ("finite_width_laws.py", "if m <= 1000:  # exact integers", "1000"),
        ("_transforms.py", "parallel = float(np.cos(angles[close]", "*"),
        ("_transforms.py", "opposite = -float(np.cos(", "*"),
        ("_transforms.py", "return float(min(0.25 * largest", "*"),
        ("_transforms.py", "return 0.25 * largest if 0.5 * error", "*"),
        ("dynamics.py", 'if loss == "logistic" and bool(np.all((y == 0)', "*"),
    ],
    "a column or row more, of zeros": [
        ("_profile.py", "matrix = np.zeros((degree + 1, degree + 1))", "1"),
    ],
    "guard against a sine above 1 by rounding, which nearly parallel rows do not reach": [
        ("_rows.py", "angle[part] = 2.0 * np.arcsin(np.minimum(0.5", "1.0"),
    ],
    "guard against a sine above 1 by rounding, which nearly opposite rows do not reach": [
        ("_rows.py", "angle[part] = np.arcsin(np.minimum(sine, 1.0))", "1.0"),
    ],
    "Veltkamp's splitting is exact for neighbouring constants too": [
        ("_rows.py", "shifted = 134217729.0 * a", "134217729.0"),
    ],
    "the loop is left before its end": [
        ("dynamics.py", "for step in range(last + 1):", "1"),
    ],
    "the squared norm of flips is 0 or at least 2": [
        ("eigen_alignment.py", "if noise > 0 else np.zeros(n)", "0"),
    ],
    "where the nodes of the contour integral lie: its step is a fraction of this": [
        ("finite_width_laws.py", "spread = np.sqrt(np.sum(2 * dof", "2"),
    ],
    "an upper bound of the curvature: a larger one makes the first step shorter, and the stages more": [
        ("flow.py", "_CURVATURE = {", "*"),
    ],
    "a third column that nothing reads": [
        ("reductions.py", "return _equicorrelated_run(s, np.zeros((s.size, 2)), delta)", "2"),
    ],
    "the axis of classes, which the logistic loss does not have": [
        ("flow.py", "return np.asarray(f * _residuals(-h, np.zeros_like(h)", "0"),
        ("flow.py", 'f = _residuals(h, np.zeros_like(h), "logistic", 0)', "0"),
    ],
    "only the mean of the law is used, which does not depend on the deviation": [
        ("initialization_law.py", "law = log_ratio_law(noise_level, logit_deviation=1.0)", "1.0"),
    ],
    "a signature for type checkers, which never runs": [
        ("kernels.py", "x: ArrayLike, z: None = None", "*"),
        ("kernels.py", "depth: int = 1,", "1"),
    ],
    "where the contour of an integral crosses the axis, on which the integral does not depend": [
        ("finite_width_laws.py", "floor = min(1 / deviation, abs(near) / 2)", "*"),
        ("finite_width_laws.py", "mean, deviation = float(dof @ lam)", "2"),
    ],
    "a factor common to all counts, which the normalisation cancels": [
        ("minibatch.py", "gammaln(total + 1) - gammaln(part + 1)", "1"),
        ("finite_width_laws.py", "probability = np.exp(gammaln(m + 1)", "1"),
    ],
    "the range's step is a block: its end may lie anywhere in it": [
        ("_validation.py", "for j in range(0, i + 1, block)", "1"),
    ],
    "a placeholder in the branch that is not taken": [
        ("alpha.py", "log_term = np.where(small, np.log1p", "0"),
        ("early_stopping.py", "return np.where(tiny, rate * steps", "1.0"),
    ],
    "an index of a symmetric matrix of equal variances": [
        ("initialization_law.py", "return _normal_orthant(edges[0]", "0"),
    ],
    "any number above π gives the same next one": [
        ("_validation.py", "largest = np.nextafter(array.dtype.type(np.pi)", "4"),
    ],
    "up to which length a message spells numbers out": [
        ("reductions.py", 'raise ValueError(f"alpha must hold pairs', "4"),
        ("reductions.py", 'raise ValueError(f"kernel must be a symmetric [2, 2] array', "9"),
        ("stopping_rules.py", 'raise ValueError(f"class_shares must be', "8"),
        ("reductions.py", 'raise ValueError(f"times must be [T] increasing', "8"),
    ],
    "arguments whose results are thrown away": [
        ("reductions.py", "k, n, _, _ = _two_clusters(kernel, sizes", "0.0"),
    ],
    "a block above the diagonal is computed too": [
        ("segments.py", "in enumerate(parts[: b + 1])", "1"),
    ],
    "an untracked run carries its second half along": [
        ("flow.py", "state = np.stack([self.problem.start", "*"),
    ],
    "the number of times and of outputs is the same for every segment": [
        ("segments.py", "n_times, _, n_outputs = parts[0][1].shape", "0"),
    ],
    "the next float64 after adding 1 is the same number": [
        ("finite_width_drift.py", "LONGEST = 1e20", "1e20"),
    ],
    "the other two limits of the step already keep the pole's error below 1e-15": [
        ("finite_width_laws.py", "step = np.minimum(np.minimum(0.1, 0.08 / spread)", "0.15"),
    ],
    "a limit far beyond the blocks that are needed": [
        ("finite_width_laws.py", "for start in range(0, 64 * _BLOCK, _BLOCK)", "64"),
    ],
    "which of the last two terms, both below 1e-18 of the sum, ends it": [
        ("finite_width_laws.py", "size_of_term = np.abs(term[:, -1])", "1"),
    ],
    "a calibrated constant of the step control: the promised error has room for an eighth more": [
        ("flow.py", "_INNER_TOLERANCE = 8.0", "8.0"),
    ],
    "how often the estimate of a falling radius is renewed: an older one takes more stages": [
        ("flow.py", "if now <= 1.25 * self.radius_time", "*"),
    ],
    "the signs are −1 and 1: below 0 or below 1 is the same": [
        ("initialization_law.py", "masks = (signs < 0, signs > 0)", "0"),
    ],
    "a limit that matters only to rows 2^-510 of the largest coordinate apart": [
        ("kernels.py", "min(exponent - math.frexp(bandwidth)[1], 510)", "510"),
    ],
}

_OPEN: _Reasons = {
    "a count of work, which tests bound from above only": [
        ("flow.py", "self.products += 1", "1"),
    ],
    "a guard against a probability above 1 by rounding, which no test provokes": [
        ("finite_width_laws.py", "np.clip(side * total * np.exp(reference), 0.0, 1.0)", "1.0"),
    ],
    "a guard against a cosine beyond 1 by rounding, which no test provokes": [
        ("initialization.py", "return np.asarray(np.clip(cosine, -1, 1))", "1"),
        ("truth_gradient.py", "return np.clip(_divide(_divide(product, _root(one)), _root(two)), -1, 1)", "1"),
    ],
}


def _by_place(reasons: _Reasons) -> dict[tuple[str, str], tuple[str, str]]:
    return {(f"theory/{module}", code): (old, why) for why, places in reasons.items() for module, code, old in places}


UNCHANGED, OPEN = _by_place(_UNCHANGED), _by_place(_OPEN)
"""(file, piece of the line) → (number, why): mutants that are equivalent, and those that change something which no test looks at."""


def reason(mutant: Place) -> tuple[str, bool]:
    """Why a mutant survives, and whether it is equivalent; ("", False) for one that nobody has explained."""
    for table, equivalent in ((UNCHANGED, True), (OPEN, False)):
        for (module, code), (old, why) in table.items():
            if mutant.path == module and code in mutant.code and old in ("*", mutant.old):
                return why, equivalent
    return "", False
