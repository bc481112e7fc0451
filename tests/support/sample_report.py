"""A report's worth of made-up results: every verdict, every role, every kind of figure. Nothing in it was measured."""

from __future__ import annotations

import math

import numpy as np

from empirical.inference import Estimate
from reports.agreement import AgreementRecord, ClaimResult, Range, Role, Verdict, judge
from reports.figure_data import FigureData
from tests.support.histogram_bands import histogram_bands

__all__ = ["PROVENANCE", "sample_figures", "sample_results"]

PROVENANCE = {
    "date": "2024-05-01T12:00:00+00:00",
    "python": "3.11.9",
    "numpy": "2.4.6",
    "torch": "2.13.0",
    "system": "Linux",
    "machine": "x86_64",
    "processor": "a processor of eight cores",
    "cores": 8,
    "device": "cpu",
    "matmul_precision": "highest",
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "tier": "quick",
    "seeds": "by rule",
    "command": "clean-priority report",
    "wall_time_s": 187.4,
    "data": {"clusters": "5d41402abc4b2a76b9719d911017c592", "digits 7/9": "7d793037a0760186574b0282f2f435e7"},
    "missing": {"mnist-79": "MNIST was not found; give --data-root a folder with mnist/"},
}


def _estimate(value: float, half: float, *, seeds: int = 200, unit: str = "") -> Estimate:
    exact = half == 0
    return Estimate(
        value=value,
        lower=value - half,
        upper=value + half,
        confidence=1.0 if exact else 1 - 2e-6,
        n_seeds=seeds,
        method="exact" if exact else "normal-mixture confidence sequence",
        unit=unit,
    )


def _result(claim: str, model: str, data: str, expected: Verdict, records: list[AgreementRecord], **more: object) -> ClaimResult:
    return ClaimResult(
        claim=claim,
        model=model,
        data=data,
        expected=expected,
        expected_reason=str(more.pop("reason", "the register says so")),
        records=records,
        command=f"clean-priority report {claim} --seeds rule",
        seconds=1.25,
        **more,  # type: ignore[arg-type]
    )


def sample_results() -> list[ClaimResult]:
    """Rows that cover every verdict, expected and not, and every role."""
    s1 = [
        judge(0.0, _estimate(3e-13, 0, seeds=20), margin={"rounding": 1e-10}, claim="S1", name="autograd against (f − y)∇h"),
        judge(
            0.0, _estimate(0.31, 0, seeds=20), margin={"rounding": 1e-10}, claim="S1", name="squared loss on f instead", role=Role.CONTROL
        ),
    ]
    theta = np.linspace(0.1, 1.5, 8)
    curve = (1 - theta / np.pi) * np.cos(theta) + np.sin(theta) / (2 * np.pi)
    wave = 0.001 * np.cos(7 * theta)
    g2_estimate = Estimate(
        value=curve + wave, lower=curve + wave - 0.002, upper=curve + wave + 0.002, confidence=1 - 2e-6, n_seeds=400, method="known-sigma z"
    )
    g2 = [
        judge(curve, g2_estimate, margin={"finite width": 0.004, "rounding": 1e-6}, claim="G2", name="cos θ_h at eight input angles"),
        judge(Range(0.05, 1.0), _estimate(0.412, 0.03), margin=0.001, claim="G2", name="cos θ_h stays positive"),
        judge(
            curve + np.sin(theta) / (2 * np.pi),
            g2_estimate,
            margin={"finite width": 0.004},
            claim="G2",
            name="1/π for 1/2π",
            role="control",
        ),
    ]
    d2 = [
        judge(
            0.5036, _estimate(0.7002, 0.004, seeds=32), margin={"modelling": 0.02}, claim="D2", name="‖g_clean‖/‖ĝ‖ = 1/(1 + α_t), t = 10"
        ),
        judge(
            0.7, _estimate(0.7002, 0.004, seeds=32), margin={"modelling": 0.02}, claim="D2", name="‖g_clean‖/‖ĝ‖ = 1 − δ", role="correction"
        ),
        judge(0.35, _estimate(0.7002, 0.004, seeds=32), margin={"modelling": 0.02}, claim="D2", name="shuffled masks", role="control"),
    ]
    d4 = [
        judge(0.146, _estimate(0.2021, 0.001, seeds=32), margin={"modelling": 0.004}, claim="D4", name="printed step factor, t = 20"),
        judge(
            0.178, _estimate(0.1785, 0.001, seeds=32), margin={"modelling": 0.004}, claim="D4", name="(1 − δ)(1 − α_t)", role="correction"
        ),
        judge(1.0, _estimate(0.2, 0.001, seeds=32), margin=0.004, claim="D4", name="no noise at all", role="control"),
    ]
    i5 = [
        judge(1.5, _estimate(1.52, 0.2, seeds=24), margin={"finite sample": 0.1}, claim="I5", name="‖g_clean‖/‖g_noise‖ = (1 − δ)/δ"),
        judge(3.0, _estimate(1.52, 0.2, seeds=24), margin={"finite sample": 0.1}, claim="I5", name="noise level halved", role="control"),
    ]
    d1 = [
        judge(1.0, _estimate(1.001, 0.002), margin=0.01, claim="D1", name="collinearity of the segment gradients"),
        judge(0.0, _estimate(0.37, 0.01), margin=0.05, claim="D1", name="both classes share one α", role="hypothesis"),
        judge(0.0, _estimate(0.9, 0.01), margin=0.05, claim="D1", name="permuted labels", role="control"),
    ]
    x4 = [
        judge(0.0, _estimate(2.0, 0, seeds=4), margin=0.5, claim="X4", name="violations of a < ρ ⇒ L_noise rises"),
        judge(0.0, _estimate(40.0, 0, seeds=4), margin=0.5, claim="X4", name="shuffled masks", role="control"),
    ]
    d10 = [
        judge(math.nan, _estimate(0.1, 0.01), margin=0.1, claim="D10", name="α_{t+1} − α_t"),
    ]
    agrees, disagrees, violated = Verdict.AGREES, Verdict.DISAGREES, Verdict.ASSUMPTION_VIOLATED
    return [
        _result("S1", "algebra", "random networks", agrees, s1),
        _result("G2", "network at initialisation", "unit pairs", agrees, g2, figures=("G2-network-at-initialisation",)),
        _result("G2", "network at initialisation", "digits 7/9", agrees, g2[:2] + g2[2:], figures=("figure-2",)),
        _result("I5", "network at initialisation", "digits 7/9", Verdict.INCONCLUSIVE, i5, reason="24 seeds cannot tell at this tier"),
        _result("D1", "fixed kernel", "digits 7/9", violated, d1, reason="imbalance breaks the shared α"),
        _result(
            "D2", "fixed kernel", "clusters", disagrees, d2, reason="the identity holds only while f = ½", figures=("D2-fixed-kernel",)
        ),
        _result("D2", "trained network", "digits 7/9", disagrees, d2, reason="the identity holds only while f = ½"),
        _result("D4", "fixed kernel", "clusters", disagrees, d4, notes=("Agreement at t = 0 is exact.",)),
        _result("D10", "trained network", "digits 7/9", agrees, d10),
        _result("D10", "trained network", "MNIST 7/9", agrees, [], not_run="MNIST was not found; give --data-root a folder with mnist/"),
        _result("X1", "fixed kernel", "clusters", agrees, [], error="ValueError: width must be at least 1, got <0> & less"),
        _result("X4", "trained network", "digits 7/9", agrees, x4, figures=("figure-3", "figure-4", "figure-5", "figure-6")),
    ]


def sample_figures() -> list[FigureData]:
    """One figure of every kind, with believable shapes."""
    rng = np.random.default_rng(20240501)
    theta = np.linspace(0, np.pi, 25)
    cosine = (1 - theta / np.pi) * np.cos(theta) + np.sin(theta) / (2 * np.pi)
    noisy = cosine + 0.002 * rng.standard_normal(25)
    fine = np.linspace(0, 180, 181)

    def angle(degrees: np.ndarray, depth: int) -> np.ndarray:
        hidden, total = np.cos(np.radians(degrees)), np.cos(np.radians(degrees))
        for _ in range(depth):
            turn = np.arccos(np.clip(hidden, -1, 1))
            hidden = ((np.pi - turn) * np.cos(turn) + np.sin(turn)) / np.pi
            total = hidden + (1 - turn / np.pi) * total
        return np.degrees(np.arccos(np.clip(total / (depth + 1), -1, 1)))

    figure_2: dict[str, np.ndarray] = {"linear@curve/x": fine, "linear@curve/prediction": fine}
    for depth in (1, 2, 4):
        points = np.linspace(5, 175, 18)
        measured = angle(points, depth) + 0.8 * rng.standard_normal(18)
        name = f"ReLU, L = {depth}"
        figure_2 |= {f"{name}@curve/x": fine, f"{name}@curve/prediction": angle(fine, depth), f"{name}@points/x": points}
        figure_2 |= {f"{name}@points/measured": measured, f"{name}@points/lower": measured - 1.2, f"{name}@points/upper": measured + 1.2}

    arc = {0: rng.uniform(-0.35, 0.35, 60), 1: rng.uniform(1.0, 1.7, 60)}
    figure_3 = {f"cluster {c}/{axis}": part(arc[c]) for c in arc for axis, part in (("x", np.cos), ("y", np.sin))}
    within, between = np.abs(rng.normal(12, 9, 900)), rng.normal(63, 9, 900)
    for name, sample in (("within", within), ("between", between)):
        figure_3 |= {f"{name}/angle": sample + rng.normal(0, 1, 900), f"{name}/predicted": sample}
    figure_3 |= histogram_bands({name: [figure_3[f"{name}/{part}"] for part in ("angle", "predicted")] for name in ("within", "between")})

    figure_4: dict[str, np.ndarray] = {}
    for panel, spread in (("two clusters, δ = 0.3", 5.0), ("MNIST 0/1, δ = 0.3", 9.0)):
        for name, centre, count, segment in (("clean", 35.0, 700, 0.0), ("noise", 145.0, 300, 176.5), ("other", 104.0, 1000, 112.0)):
            sample = np.clip(rng.normal(centre, spread, count), 0, 180)
            figure_4 |= {f"{panel}|{name}/angle": sample + rng.normal(0, 0.6, count), f"{panel}|{name}/predicted": sample}
            figure_4 |= histogram_bands({f"{panel}|{name}": [sample + rng.normal(0, 1, count) for _ in range(8)]})
            figure_4 |= {f"{panel}|{name}/segment": np.array([segment]), f"{panel}|{name}/segment_predicted": np.array([segment + 0.4])}

    time = np.geomspace(0.5, 4000, 70)
    rise = 1 / (1 + (time / 400) ** 1.5)
    courses = {
        "segment error": {"clean": 0.35 / (1 + time / 3), "noise": (0.62 + 0.3 * (1 - np.exp(-time / 8))) * rise},
        "mean residual": {"clean": 0.5 / (1 + (time / 20) ** 0.8), "noise": (0.5 + 0.25 * (1 - np.exp(-time / 30))) * rise},
        "total error": {"test": 0.12 + 0.3 / (1 + time / 2) + 0.22 * (1 - rise), "train": 0.44 * rise + 0.02},
    }
    figure_5: dict[str, np.ndarray] = {}
    for panel, series in courses.items():
        for name, course in series.items():
            measured = course + 0.012 * np.sin(np.log(time) * 5)
            figure_5 |= {f"{panel}|{name}/x": time, f"{panel}|{name}/prediction": course, f"{panel}|{name}/measured": measured}
            figure_5 |= {f"{panel}|{name}/lower": measured - 0.025, f"{panel}|{name}/upper": measured + 0.025}
    figure_6: dict[str, np.ndarray] = {}
    for name, start in (("class 7", 1.64), ("class 9", 1.37)):
        ratio = 1 + (start - 1) / (1 + time / 15)
        figure_6 |= {f"{name}/x": time, f"{name}/prediction": ratio, f"{name}/measured": ratio * (1 + 0.02 * np.sin(time))}
        figure_6 |= {f"{name}/lower": ratio * 0.94, f"{name}/upper": ratio * 1.06}

    # Kinds that share a layout: as the papers have them, one panel, six panels, ten panels.
    errors = {key.replace("total error", "").replace("|", ""): part for key, part in figure_5.items() if key.startswith("total")}
    ratios = {key: 9 * part if key.endswith(("prediction", "measured", "lower", "upper")) else part for key, part in figure_6.items()}
    logits = {f"logit {c}|{key.partition('|')[2]}": part for c in range(10) for key, part in figure_4.items() if key.startswith("MNIST")}
    losses = {f"{panel}|{key}": part for panel in ("digits 7/9", "MNIST") for key, part in errors.items()}
    sweep = {
        f"{panel}|m = {width}/{column}": part[column]
        for panel in ("clean error", "clean residual", "test error", "noisy error", "noisy residual", "training error")
        for width in (32, 128, 512)
        for part in [{name: figure_5[f"segment error|clean/{name}"] * (1 + 8 / width) for name in ("x", "measured", "lower", "upper")}]
        for column in part
    }
    shared = {
        "figure_1": errors,
        "figure_7": figure_5,
        "figure_8": ratios,
        "figure_9": losses,
        "figure_10": logits,
        "figure_11": losses,
        "figure_12": sweep,
        "figure_13": sweep,
    }
    degrees = {"x": "angle between the inputs, θ_d (degrees)"}
    return [
        *[
            FigureData(kind.replace("_", "-"), kind, f"{kind.replace('_', ' ').capitalize()}: its layout", "Made up.", "X4", arrays)
            for kind, arrays in shared.items()
        ],
        FigureData(
            "G2-network-at-initialisation",
            "comparison",
            "cos θ_h of a ReLU network with 4096 units",
            "The measured cosine follows the formula at every angle, to within a margin of 0.006.",
            "G2",
            {
                "ReLU/x": np.degrees(theta),
                "ReLU/prediction": cosine,
                "ReLU/measured": noisy,
                "ReLU/lower": noisy - 0.003,
                "ReLU/upper": noisy + 0.003,
                "ReLU/margin": np.full(25, 0.006),
            },
            {**degrees, "y": "cos θ_h"},
        ),
        FigureData(
            "D2-fixed-kernel",
            "comparison",
            "Share of the clean segment gradient in the noise-free one",
            "The printed factor 1/(1 + α_t) leaves its margin at once; 1 − δ stays inside for all times.",
            "D2",
            {
                key: value
                for name, prediction in (("printed", 0.7 * np.exp(-time / 900)), ("corrected", np.full(70, 0.7)))
                for key, value in (
                    (f"{name}/x", time),
                    (f"{name}/prediction", prediction),
                    (f"{name}/measured", np.full(70, 0.702)),
                    (f"{name}/lower", np.full(70, 0.69)),
                    (f"{name}/upper", np.full(70, 0.71)),
                    (f"{name}/margin", np.full(70, 0.02)),
                )
            },
            {"x": "time η·step", "xscale": "log", "y": "‖g_clean‖ / ‖ĝ‖", "mark:α = 0.9": "200"},
        ),
        FigureData("figure-2", "figure_2", "Figure 2: relation between θ_h and θ_d", "Points lie on the curves.", "G2", figure_2),
        FigureData("figure-3", "figure_3", "Figure 3: clusters are preserved", "Pairs within stay closer.", "X4", figure_3),
        FigureData("figure-4", "figure_4", "Figure 4: distributions of θ_g", "Noise is opposite to clean.", "X4", figure_4),
        FigureData(
            "figure-5",
            "figure_5",
            "Figure 5: learning dynamics",
            "Noisy error rises first, then falls.",
            "X4",
            figure_5,
            {"x": "time η·step", "mark:early stopping": "14"},
        ),
        FigureData(
            "figure-6",
            "figure_6",
            "Figure 6: diminishing dominance of the clean gradient",
            "Both ratios fall towards 1.",
            "X4",
            figure_6,
            {"mark:early stopping": "14", "reference:(1 − δ)/δ": "1.5"},
        ),
    ]
