"""Misprints, errors, missing hypotheses, contradictions and omissions of the papers, in the order of [A]."""

from __future__ import annotations

from theory.register.record import Slip

__all__ = ["SLIPS"]

SLIPS = (
    Slip(
        where="p. 2 [A], Sec. 1.1 [B]",
        printed=(
            "at the same location of each noisy sample, there must exist several (at least 1/δ, with δ being the label noise "
            "level) clean samples"
        ),
        correct="The attribution to Li et al. (2020) is not checked here: it is a statement about a third paper, and no row judges it.",
        kind="not stated",
    ),
    Slip(
        where="below Eqs. (6), (7) [A]",
        printed="v ∈ R^m and A ∈ R^(m×d) are the first layer and second layer parameters, respectively",
        correct="A ∈ R^(m×d) is the first layer and v ∈ R^m the second.",
        kind="typo",
        claim="S5",
    ),
    Slip(
        where="Thm 3.1 [A], ReLU case",
        printed="for the ReLU neural network h_2, cos θ_h1(x, z) =",
        correct="cos θ_h2(x, z) =",
        kind="typo",
        claim="G2",
    ),
    Slip(
        where="Eq. (24) [A]",
        printed="cos θ_h = ⟨∇h_1(w_0; x), ∇h_1(w_0; z)⟩/(‖∇h_1(w_0; x)‖‖∇h_1(w_0; z)‖)",
        correct="h_2 in place of h_1 throughout: it concludes the ReLU case.",
        kind="typo",
        claim="G2",
    ),
    Slip(
        where="Cor. A.3(1) [A], Thm 3.1(1) [B]",
        printed="if θ_d(x, z) ≪ 1, then θ_h(x, z) ≪ 1",
        correct="At fixed depth, with θ_d ≪ 1/L: θ_h ≈ √(Lθ_d/π), and at fixed θ_d > 0 the angle tends to 75.52° as L → ∞.",
        kind="missing hypothesis",
        claim="G5",
    ),
    Slip(
        where="p. 4 [A], Sec. 3 [B]",
        printed="similar inputs (small angle θ_d) induce similar model derivatives (small angle θ_h)",
        correct=(
            "The order of angles is preserved on [0, π/2] only: for L = 1 θ_h falls again past θ_d = 142.57°, and centred inputs "
            "reach such angles."
        ),
        kind="missing hypothesis",
        claim="G4",
    ),
    Slip(
        where="Remark 3.3 [A], Sec. 4.1 [B]",
        printed="the model derivative ∇h(w; x) is constant during optimization for infinitely wide neural networks",
        correct="At fixed time t as m → ∞; the limits t → ∞ and m → ∞ do not commute for the logistic loss, and ReLU drifts as m^(−1/4).",
        kind="missing hypothesis",
        claim="G7",
    ),
    Slip(
        where="Sec. 3.2 [A]",
        printed="flips all ∇l(w_0) ∈ G^(c)_noise(w_0) to the opposite direction of those in G^(c)_noise(w_0)",
        correct="to the opposite direction of those in G^(c)_clean(w_0)",
        kind="typo",
        claim="I1",
    ),
    Slip(
        where="Eq. (8) [A], Eq. (5) [B]",
        printed="E[f(w_0; x)] is 0.5 by random guess",
        correct="True over w_0, or for a centred output; at one w_0 the logit has variance ‖x‖² (Eq. (2) [B]).",
        kind="missing hypothesis",
        claim="S6",
    ),
    Slip(
        where="Eqs. (8), (9) [A], Eqs. (5), (6) [B]",
        printed="|D^(c)_k|E[∇l] = |D^(c)_k|E[f(w_0; x) − y]E[∇h]",
        correct=(
            "f and ∇h are dependent (h is homogeneous in each layer); the product form needs a centred output, and the ratio is "
            "then (1 − δ)/δ."
        ),
        kind="missing hypothesis",
        claim="I5",
    ),
    Slip(
        where="Assumption 4.1 [A], [B]",
        printed="for all t ∈ [0, T] and c ∈ {0, 1}, the following holds g^(c)_noise(w_t) = −α_t g^(c)_clean(w_t)",
        correct="One α_t for both classes needs equal δ and n_1(k_11 + k_10) = n_0(k_00 + k_10); with K ≻ 0 no α_t satisfies it exactly.",
        kind="missing hypothesis",
        claim="D1",
    ),
    Slip(
        where="Eq. (10) [A], Eq. (7) [B]",
        printed="g^(c)_clean(w_t) = (1/(α_t + 1)) ĝ^(c)(w_t)",
        correct="g^(c)_clean(w_t) = (1 − δ) ĝ^(c)(w_t)",
        kind="error",
        claim="D2",
    ),
    Slip(
        where="Eq. (11) [A], Eq. (8) [B]",
        printed="∇L(w_t; D) = ∑_c (g^(c)_clean(w_t) + g^(c)_noise(w_t))",
        correct="A factor 1/n on the right: L is a mean, the segment gradients are sums.",
        kind="typo",
        claim="D3",
    ),
    Slip(
        where="Prop. 4.2 [A], Lemma 4.2 [B]",
        printed="η′_t = ((1−α_t)/(1+α_t)) η > 0",
        correct="η′_t = (1 − δ)(1 − α_t)η",
        kind="error",
        claim="D4",
    ),
    Slip(
        where="Prop. 4.2 and Thm 4.5 [A], Lemma 4.2 and Thm 4.5 [B]",
        printed="{α_t}^T_{t=0} ∈ (0, 1)^T",
        correct="(0, 1)^(T+1): the sequence has T + 1 terms; and α_(t+1) > α_t is meant for t ≤ T − 1.",
        kind="typo",
        claim="D10",
    ),
    Slip(
        where="Remark 4.3 [A], [B]",
        printed="similar relation of Eq.(12) also holds for a mini-batch estimation ∇L(w_0; B)",
        correct="∇L(w_t; B); and the clean majority is needed within each class of the batch, with 1 − α_t ≫ B^(−1/2).",
        kind="missing hypothesis",
        claim="D5",
    ),
    Slip(
        where="Thm 4.4 [A], [B]",
        printed="Accordingly, the training accuracy on the clean subset is increased, and that on the noisy subset is decreased.",
        correct="Does not follow from the losses; there is a counterexample that satisfies Assumption 4.1 exactly.",
        kind="error",
        claim="D7",
    ),
    Slip(
        where="Sec. 4.1 [A], [B], 'Residual magnitude'",
        printed="As a consequence of the decreasing clean subset loss L(w; D_clean), […] |f(w; x) − y| decreases on the clean subset",
        correct="Does not follow, not even in the mean; sample i improves iff r_i(K r)_i > 0.",
        kind="error",
        claim="D8",
    ),
    Slip(
        where="Sec. 4.1 [A], on Fig. 5",
        printed="(See Appendix B for subset loss curves)",
        correct="Appendix C (Fig. 11).",
        kind="typo",
        claim="F11",
    ),
    Slip(
        where="Sec. 5 [A], [B], last display before 'Learning dynamics'",
        printed="‖g^(c)_clean(w_0)‖/‖g^(c)_clean(w_0)‖ ≈ (C − 1)(1 − δ)/δ",
        correct="‖g^(c)_clean(w_0)‖/‖g^(c)_noise(w_0)‖; [B] drops a bar as well.",
        kind="typo",
        claim="M3",
    ),
    Slip(
        where="Sec. 5 [A], [B], after Eq. (14) [A]",
        printed="Recalling that D^(c)_clean and D^(c)_noise (hence the corresponding ∇h) have the same distribution",
        correct=(
            "For logit c, samples of other classes mislabelled as c are noisy too, and C − 1 times heavier; their segment has ratio "
            "(C − 1 − δ)/((C − 1)δ)."
        ),
        kind="not stated",
        claim="M3",
    ),
    Slip(
        where="Eq. (29) [A]",
        printed="Pr(|(1/m)AᵀA − I_d| ≥ ε) ≤ Var((1/m)(AᵀA))/ε",
        correct="Chebyshev's inequality needs ε², ε > 0, and a norm: P(‖AᵀA/m − I‖_F ≥ ε) ≤ d(d + 1)/(mε²).",
        kind="error",
        claim="G6",
    ),
    Slip(
        where="App. A.4 [A]",
        printed=(
            "First, note that the clean data has the same distribution as the noiseless (ground-truth-labelled) data. Hence, L(w; "
            "D_clean) = L(w; D̂)."
        ),
        correct=(
            "False once w depends on the labels (0.541 against 0.571 at the noisy-loss peak); ∇L(D) = (1 − α)(n_c/n)∇L(D_clean) suffices."
        ),
        kind="error",
        claim="D6",
    ),
    Slip(
        where="Eq. (30) [A]",
        printed="∇L(w_t; D̂) = −((1 − α_t)/α_t) ∑_c g^(c)_noise(w_t) = −((1 − α_t)/α_t) ∇L(w_t, D_noise)",
        correct=(
            "The factor belongs to ∇L(D). For D̂ it is −1/((1 − δ)α_t), with 1/n before the sum, and −n_n/(n(1 − δ)α_t) before ∇L(D_noise)."
        ),
        kind="error",
        claim="D6",
    ),
    Slip(
        where="Eq. (32) [A]",
        printed="L(w; S) = ∑_{(x,y)∈S} −y log f(w; x) − (1 − y) log(1 − f(w; x))",
        correct="A factor 1/|S|, by Eq. (2) [A].",
        kind="typo",
        claim="D10",
    ),
    Slip(
        where="App. A.5 [A], after Eq. (32)",
        printed="Hence, at any point w we have the Hessian matrix H(w; S) of the logistic regression loss L(w; S) is positive definite.",
        correct="Positive semi-definite, of rank ≤ |S| < p; strictness holds because φ_i·g = 0 for all i implies g = 0.",
        kind="error",
        claim="D10",
    ),
    Slip(
        where="App. A.5 [A], before Eq. (33)",
        printed="w_{t+1} = w_t − η(1 − α_t)L(w_t; D_clean), or w_{t+1} = w_t + η((1 − α_t)/α_t) L(w_t; D_noise)",
        correct="∇L in place of L, with the factors n_c/n and n_n/n (segment gradients are sums, losses are means).",
        kind="typo",
        claim="D10",
    ),
    Slip(
        where="Eq. (33) [A]",
        printed=(
            "∇L(w_{t+1}; D_clean) = ∇L(w_t; D_clean) + H(ξ; D_clean)(w_{t+1} − w_t), (33) with ξ being some point between w_t and w_{t+1}"
        ),
        correct="A vector-valued map has no single mean-value point: the Hessian is to be averaged along the segment (integral form).",
        kind="error",
        claim="D10",
    ),
    Slip(
        where="App. A.5 [A], after Eq. (33)",
        printed="L(w_{t+1}; D_noise)‖² > ‖∇L(w_t; D_noise)‖²",
        correct="‖∇L(w_{t+1}; D_noise)‖² > ‖∇L(w_t; D_noise)‖²",
        kind="typo",
        claim="D10",
    ),
    Slip(
        where="App. A.5 [A], before Eq. (34)",
        printed="∇L(w_t; D_noise) = ∑_c g^(c)_noise(w_t) = −α_t ∑_c g^(c)_clean(w_t) = −α_t ∇L(w_t; D_clean)",
        correct="n_n ∇L(D_noise) = Σ_c g_noise^(c) = −α_t Σ_c g_clean^(c) = −α_t n_c ∇L(D_clean)",
        kind="typo",
        claim="D10",
    ),
    Slip(
        where="caption of Fig. 5 [A] against App. B [A]",
        printed="(noise level δ = 0.4) with FCN […] injected 30% random label noise into each class in the training dataset",
        correct="App. B says that Fig. 5 and Fig. 6 use the 30 % setting; caption, text ((1 − δ)/δ = 1.5) and Fig. 11 have δ = 0.4.",
        kind="contradiction",
        claim="F5",
    ),
    Slip(
        where="caption of Fig. 4 [A] against App. B [A]",
        printed="two classes MNIST ((“0” and 1”, δ = 0.3). […] Both cases use a 2-layer ReLU neural network.",
        correct="App. B gives the right panel digits 7 and 9 and 2 hidden layers (a 3-layer network in the papers' count).",
        kind="contradiction",
        claim="F4",
    ),
    Slip(
        where="App. B, App. C [A]",
        printed="We use mini-batch SGD with batch size 256 to train this network.",
        correct="Learning rate, number of epochs, initialisation, input scaling and number of runs are given nowhere.",
        kind="not stated",
        claim="R6",
    ),
    Slip(
        where="Fig. 9 [A]",
        printed="using kernel machine with both Laplacian and Gaussian kernels",
        correct="Kernel bandwidths, loss and step size are given nowhere.",
        kind="not stated",
        claim="F9",
    ),
)
