"""Planted faults in the judging: estimators and their error rates, the decision rule, the rows, the budget."""

from __future__ import annotations

from tests.support.planting import Fault, Replacement, edited

__all__ = ["JUDGING_FAULTS"]


def _fault(name: str, target: str, replacement: Replacement, description: str, *caught_by: str) -> Fault:
    return Fault(name, description, "judging", target, replacement, caught_by)


JUDGING_FAULTS: tuple[Fault, ...] = (
    # Intervals
    _fault(
        "interval from n − 2",
        "empirical.inference:mean_interval",
        edited("stdtrit(n - 1,", "stdtrit(n - 2,"),
        "Student's quantile with one degree of freedom too few",
        "Student interval",
    ),
    _fault(
        "confidence of the wrong tail",
        "empirical.inference:mean_interval",
        edited("error_rate / 2)", "error_rate)"),
        "one-sided quantile for a two-sided interval",
        "coverage of means",
    ),
    _fault(
        "standard deviation for standard error",
        "empirical.inference:mean_interval",
        edited(" / np.sqrt(n)", ""),
        "the spread of one seed for that of the mean",
        "Student interval",
    ),
    _fault(
        "known σ with the wrong tail",
        "empirical.inference:known_sigma_mean",
        edited("ndtri(error_rate / 2)", "ndtri(error_rate)"),
        "one-sided quantile for a two-sided interval",
        "coverage of means",
    ),
    _fault(
        "variance as if all laws were normal",
        "empirical.inference:variance_interval",
        edited(
            "n * np.sum((values - centre) ** 4, axis=0) / np.sum(deviation**2, axis=0) ** 2", "3.0 + 0 * np.sum(deviation + centre, axis=0)"
        ),
        "the kurtosis left out of the interval of a variance",
        "coverage of variances",
    ),
    _fault(
        "proportion cut by one",
        "empirical.inference:proportion",
        edited("trials - successes + 1, error_rate / 2", "trials - successes, error_rate / 2"),
        "Clopper-Pearson with a parameter off by one",
        "coverage of proportions",
    ),
    _fault(
        "p-value of the other tail",
        "empirical.inference:ks_test",
        edited("kstwo.sf(", "kstwo.cdf("),
        "1 − p for p in the Kolmogorov-Smirnov test",
        "Kolmogorov-Smirnov",
    ),
    _fault(
        "distance of laws from one side",
        "empirical.inference:ks_test",
        edited("max(np.max(ranks / n - levels), np.max(levels - (ranks - 1) / n))", "np.max(ranks / n - levels)"),
        "only sup(F_n − F)",
        "Kolmogorov-Smirnov",
    ),
    _fault(
        "band over samples for seeds",
        "empirical.bands:simultaneous_band",
        edited("values.std(axis=0, ddof=1) / np.sqrt(n)", "values.std(axis=0, ddof=1) / np.sqrt(values.size)"),
        "every recorded number counts as a replicate",
        "bands",
    ),
    _fault(
        "band at one time only",
        "empirical.bands:simultaneous_band",
        edited("error_rate / (2 * mean.size)", "error_rate / 2"),
        "no correction for looking at all times at once",
        "bands",
    ),
    _fault(
        "observed statistic not counted",
        "empirical.bands:sign_flip_test",
        edited("(1 + as_large)", "as_large"),
        "a p-value of zero is possible",
        "sign flips",
    ),
    # Sequences
    _fault(
        "betting on one side only",
        "empirical.sequences:_betting_lower",
        edited("np.log(2 / error_rate)", "np.log(1 / error_rate)"),
        "the whole error rate spent on each of the two gamblers",
        "betting",
    ),
    _fault(
        "bets that know the sample",
        "empirical.sequences:_predictable_moments",
        edited("np.concatenate([first / 2, mean[:-1]])", "mean + 0 * first"),
        "the mean before a sample includes the sample",
        "empirical Bernstein",
    ),
    _fault(
        "sequence of a fixed number",
        "empirical.sequences:normal_mixture_radius",
        edited("(np.log(inner) / 2 - np.log(error_rate))", "(-np.log(error_rate))"),
        "the price of looking at any time not paid",
        "normal mixture",
    ),
    _fault(
        "plug-in as if exact",
        "empirical.sequences:t_mixture_sequence",
        edited("np.log1p(counts / precision) - 2 * np.log(error_rate)", "np.log1p(counts / precision) - np.log(error_rate)"),
        "1/√α for 1/α in the Student mixture",
        "Student mixture",
    ),
    _fault(
        "exponent with the error of one width",
        "empirical.rates:_weighted_line",
        edited("float(np.linalg.norm(to_slope * error))", "float(np.linalg.norm(to_slope * error)) / len(x)"),
        "the standard error of a slope too small by the number of widths",
        "rates",
    ),
    # Designs and joint statements
    _fault(
        "components not counted",
        "tests.support.estimates:at_once",
        edited("1 - k * (1 - estimate.confidence)", "estimate.confidence"),
        "a joint statement sold at the error rate of one component",
        "joint statements",
    ),
    _fault(
        "means at the error rate of one",
        "tests.support.estimates:means",
        edited("error_rate=error_rate / sd.size", "error_rate=error_rate"),
        "each of k components at the rate of all",
        "joint statements",
    ),
    _fault(
        "law known too well",
        "tests.support.estimates:law_design",
        edited("np.log(2 / error_rate) / (2 * n_seeds)", "np.log(2 / error_rate) / (8 * n_seeds)"),
        "half the radius of Dvoretzky, Kiefer and Wolfowitz",
        "law distance",
    ),
    _fault(
        "length of an interval as if fixed",
        "tests.support.estimates:variance_design",
        edited(", resolved=np.expm1(2 * logarithm)", ""),
        "4h sold as the detectable discrepancy of a variance, whose interval grows with it",
        "variances",
    ),
    _fault(
        "pairs taken apart",
        "tests.support.paired:paired",
        edited("np.asarray(measured, float) - target", "np.asarray(measured, float) - target.mean()"),
        "the interval of the measurement for that of the paired difference",
        "pairs",
    ),
    # The decision
    _fault(
        "margin of the wrong sign",
        "reports.agreement:judge",
        edited("(lower >= low - size) & (upper <= high + size)", "(lower >= low + size) & (upper <= high - size)"),
        "the margin is taken off instead of put on",
        "verdicts",
    ),
    _fault(
        "margin for the margin's half",
        "reports.agreement:judge",
        edited("(lower > high + size) | (upper < low - size)", "(lower > high + 2 * size) | (upper < low - 2 * size)"),
        "DISAGREES only beyond twice the margin",
        "verdicts",
    ),
    _fault(
        "value for interval",
        "reports.agreement:judge",
        edited("inside = (lower >= low - size) & (upper <= high + size)", "inside = (value >= low - size) & (value <= high + size)"),
        "agreement by the point estimate",
        "verdicts",
        "wide intervals",
    ),
    _fault(
        "not significantly different",
        "reports.agreement:judge",
        edited("    elif inside.all():", "    elif not outside.any():"),
        "whatever is not rejected agrees",
        "wide intervals",
    ),
    _fault(
        "all components must disagree",
        "reports.agreement:judge",
        edited("elif outside.any():", "elif outside.all():"),
        "one component outside its margin is forgiven",
        "arrays",
    ),
    _fault(
        "NaN counted as inside",
        "reports.agreement:judge",
        edited("if missing.any():", "if missing.all() and missing.size > 2:"),
        "a prediction that is NaN is judged like a number",
        "NaN",
    ),
    _fault(
        "range with one end",
        "reports.agreement:judge",
        edited("outside = (lower > high + size) | (upper < low - size)", "outside = lower > high + size"),
        "nothing is ever too small",
        "verdicts",
        "ranges",
    ),
    _fault(
        "first term for the sum of the margin",
        "reports.agreement:Margin.total",
        edited("sum(np.asarray(size, dtype=float) for size in self.terms.values())", "next(iter(self.terms.values()))"),
        "the margin's other terms are dropped",
        "sum of margins",
    ),
    _fault(
        "detectable understated",
        "reports.agreement:judge",
        edited("size[worst] + upper[worst] - lower[worst]", "(upper[worst] - lower[worst]) / 2"),
        "half the interval sold as the smallest discrepancy that is seen",
        "detectable",
    ),
    # Rows and budget
    _fault(
        "control ignored",
        "reports.agreement:AgreementRecord.ok",
        edited("return self.verdict is Verdict.DISAGREES", "return True"),
        "a negative control that passes is not noticed",
        "controls",
    ),
    _fault(
        "row without a control",
        "reports.agreement:ClaimResult.failures",
        edited("elif not self.with_role(Role.CONTROL):", "elif False:"),
        "nobody asks for a negative control",
        "green rows",
    ),
    _fault(
        "no check is no failure",
        "reports.agreement:ClaimResult.failures",
        edited('found.append("no check was executed")', "return []"),
        "a row that judged nothing is green",
        "green rows",
    ),
    _fault(
        "better than expected",
        "reports.agreement:ClaimResult.failures",
        edited("if self.verdict is not self.expected:", "if self.verdict is not self.expected and self.verdict is not Verdict.AGREES:"),
        "a printed error that suddenly agrees goes unnoticed",
        "turned verdicts",
    ),
    _fault(
        "correction not asked for",
        "reports.agreement:ClaimResult.failures",
        edited("self.expected is Verdict.DISAGREES and not", "self.expected is Verdict.ERROR and not"),
        "a rejected statement stands without its correction",
        "corrections",
    ),
    _fault(
        "correction ignored",
        "reports.agreement:AgreementRecord.ok",
        edited("return self.verdict is Verdict.AGREES", "return True"),
        "a correction that is wrong itself passes",
        "corrections",
    ),
    _fault(
        "hypotheses ignored",
        "reports.agreement:ClaimResult.verdict",
        edited("if Verdict.DISAGREES in hypotheses:", "if False:"),
        "a theorem is judged where its assumption fails",
        "verdict of a row",
    ),
    _fault(
        "inconclusive read as agreement",
        "reports.agreement:ClaimResult.verdict",
        edited("(Verdict.DISAGREES, Verdict.INCONCLUSIVE)", "(Verdict.DISAGREES,)"),
        "a row that cannot tell is AGREES",
        "verdict of a row",
    ),
    _fault(
        "hypothesis alone is a verdict",
        "reports.agreement:ClaimResult.verdict",
        edited("return Verdict.AGREES if verdicts else Verdict.ERROR", "return Verdict.AGREES"),
        "a row whose hypotheses hold agrees without any statement",
        "verdict of a row",
    ),
    _fault(
        "budget not added up",
        "reports.budget:spent",
        edited("sum(1 - record.confidence for record in random)", "max((1 - record.confidence for record in random), default=0.0)"),
        "the largest error rate for the sum of all",
        "budget",
    ),
    _fault(
        "error rate of a textbook",
        "reports.budget:PER_CHECK_ERROR_RATE",
        lambda original: 0.05,
        "5 % for each check",
        "budget",
    ),
)
