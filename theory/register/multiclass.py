"""Several classes: single-logit gradients and their initial ratios (Sec. 5 of both papers)."""

from __future__ import annotations

from theory.register.record import Claim

__all__ = ["ROWS"]

ROWS = (
    Claim(
        id="M1",
        title="Gradient splits into single-logit gradients",
        sources=("Eq. (13) [A]", "Eq. (10) [B]"),
        quote=(
            "the sample-wise gradient can be written as ∇l(w) = ∑^C_{c=1} ∇l_c(w), where ∇l_c(w) ≜ (f_c(w; x) − y_c)∇h_c(w; x) (13) is the "
            "single-logit sample-wise gradient"
        ),
        statement=(
            "∇l = Σ_c (f_c − y_c)∇h_c exactly. At infinite width derivatives of different logits are orthogonal, so that the "
            "tangent kernel "
            "is K ⊗ I_C; at width m ⟨∇h_c(x), ∇h_c′(z)⟩ has mean 0 and variance (2/m)⟨x, z⟩²κ0(θ) (Eq. (2) [B], L = 1)."
        ),
        formula=r"\nabla l(w) = \sum_{c=1}^{C} \left(f_c(w; x) - y_c\right) \nabla h_c(w; x)",
        hypotheses=("Cross entropy with a softmax output.", "unstated: f_c depends on all logits through the softmax."),
        kind="exact",
        audit="OK",
        expected="AGREES",
        reason="The chain rule; the cross-logit variance is exact at every width for L = 1.",
        control="C independent sigmoids with the softmax labels give other residuals and must be rejected.",
    ),
    Claim(
        id="M2",
        title="Softmax outputs are 1/C at initialisation",
        sources=("Sec. 5 [A]", "Sec. 5 [B]"),
        quote=(
            "the softmax has an average output f_c around 1/C with random guess at initialization. This leads to E|f_c(w_0; x) − y_c| = "
            "1 − 1/C when y_c = 1, and E|f_c(w_0; x) − y_c| = 1/C when y_c = 0."
        ),
        statement="Over w_0, E f_c(w_0; x) = 1/C at every width, hence E|f_c − y_c| = 1 − 1/C for y_c = 1 and 1/C for y_c = 0.",
        formula=r"\mathbb{E}_{w_0} f_c(w_0; x) = \dfrac{1}{C}",
        hypotheses=("unstated: the expectation is over w_0; one network deviates as in rows S6 and I5.",),
        kind="law",
        audit="HYP",
        expected="AGREES",
        reason="The logits are exchangeable over w_0, so that each has mean output 1/C exactly; a single network does not.",
        control="Logits with unequal last-layer variances are not exchangeable, and their mean outputs must be rejected.",
    ),
    Claim(
        id="M3",
        title="Initial single-logit ratio (C − 1)(1 − δ)/δ",
        sources=("Eq. (14a) [A]", "Eq. (14b) [A]", "Eq. (11a) [B]", "Eq. (11b) [B]"),
        quote=(
            "Therefore, we have the dominance of ‖g^(c)_clean‖ over ‖g^(c)_noise‖ at initialization, with a ratio "
            "‖g^(c)_clean(w_0)‖/‖g^(c)_clean(w_0)‖ ≈ (C − 1)(1 − δ)/δ."
        ),
        statement=(
            "At f ≡ 1/C, for logit c and samples of true class c, clean residuals are −(1 − 1/C) and noisy ones +1/C, so that "
            "‖g_clean^(c)‖/‖g_noise^(c)‖ = (C − 1)(1 − δ)/δ up to finite-sample terms."
        ),
        formula=(
            r"\dfrac{\Vert g_{\mathrm{clean}}^{(c)}(w_0) \Vert}{\Vert g_{\mathrm{noise}}^{(c)}(w_0) \Vert} \approx"
            r" \dfrac{(C-1)(1-\delta)}{\delta}"
        ),
        hypotheses=(
            "Segments by true class c, gradient of logit c.",
            "unstated: f(w_0; ·) ≡ 1/C (centred output), δ_c = δ, large segments.",
        ),
        kind="law",
        audit="TYPO",
        expected="AGREES",
        reason="21.0 for C = 10, δ = 0.3; the printed denominator ‖g_clean‖ is a misprint for ‖g_noise‖.",
        control=(
            "The segment of class c′ at another logit c has ratio (C − 1 − δ)/((C − 1)δ) = 3.22, and the binary (1 − δ)/δ is 2.33: "
            "both must be rejected as values of this ratio."
        ),
    ),
    Claim(
        id="M4",
        title="Cleanness is defined only per logit",
        sources=("Sec. 5 [A]", "Sec. 5 [B]"),
        quote=(
            "We point out that, the cleanness of a sample is only well defined with respect to each single logit, but not to the "
            "whole output."
        ),
        statement="With the full vector gradient clean and noisy segments of a class are not opposite; only single-logit segments are.",
        formula=r"\cos\angle(g_{\mathrm{clean}}^{(c)}, g_{\mathrm{noise}}^{(c)}) > -1 \quad (\mathrm{full\ gradient})",
        hypotheses=("More than two classes.",),
        kind="exact",
        audit="ERR",
        expected="DISAGREES",
        reason=(
            "A noisy sample keeps its label on C − 2 logits, and clean/noisy pairs have residual cosine −1/(C − 1); but summed over wrong "
            "labels the segments are exactly opposite (cosine −1) in the collapsed model, at every t."
        ),
        correction=(
            "Eq. (1) defines cleanness for the whole label, and the full-gradient segments are collinear with the ratio of row M3: the "
            "restriction to single logits is not needed. On data this takes n_n ≫ (C − 1)²K̄_d/K̄_o noisy samples per class, since "
            "self-products weigh (C − 1)² times as much: ten classes of digits give cosine −0.5, three give −0.95."
        ),
        correction_formula=(
            r"g_{\mathrm{noise}}^{(c)} = -\alpha_t\, g_{\mathrm{clean}}^{(c)}, \quad \alpha_0 ="
            r" \dfrac{\delta}{(C-1)(1-\delta)}"
        ),
        control="If all noise of a class goes to one wrong class the segment cosine is −1/(C − 1), not −1, and must be told apart.",
    ),
    Claim(
        id="M5",
        title="Full gradient at f = 1/C: factor 1 − δC/(C − 1)",
        sources=("Eq. (14a) [A]", "Eq. (14b) [A]", "Eq. (11a) [B]", "Eq. (11b) [B]"),
        quote="g^(c)_noise(w_0) ≈ −δĝ^(c)(w_0)/(C − 1), (14a) g^(c)_clean(w_0) ≈ (1 − δ)ĝ^(c)(w_0). (14b)",
        statement=(
            "At f ≡ 1/C the gradient on noisy labels is (1 − δC/(C − 1)) times the gradient on true labels, with the same factor in every "
            "(class, logit) block; later, in the collapsed model, the factor is (1 − δ)(1 − α_t)."
        ),
        formula=r"\nabla L(\mathcal{D}) = \left(1 - \dfrac{\delta C}{C - 1}\right) \nabla L(\hat{\mathcal{D}})",
        hypotheses=(
            "Uniform noise over the wrong classes.",
            "unstated: f(w_0; ·) ≡ 1/C, and the exact version needs each class at one location with exact noise counts.",
        ),
        kind="exact",
        audit="OK",
        expected="AGREES",
        reason="Sum of (14a) and (14b); confirmed block by block to rounding in the collapsed model.",
        control="The binary factor 1 − 2δ for C > 2, and noise above (C − 1)/C, must be rejected (the factor turns negative).",
    ),
)
