"""Geometry of the model derivative ∇h (Sec. 3.1 and App. A.1-A.3 of [A], Thm 3.1 of [B])."""

from __future__ import annotations

from theory.register.record import Claim

__all__ = ["ROWS"]

ROWS = (
    Claim(
        id="G1",
        title="Linear network: θ_h = θ_d",
        sources=("Thm 3.1 [A]", "Thm A.1 [A]", "Eq. (15) [A]", "Eq. (18) [A]", "Eq. (20) [A]"),
        quote=(
            "Given any two inputs x and z, the angles θ_h1(x, z) and θ_h2(x, z) have the following relations with θ_d(x, z), at "
            "network initialization w_0: for the linear neural network h_1, θ_h1(x, z) = θ_d(x, z);"
        ),
        statement=(
            "For h1 of Eq. (6) [A] θ_h = θ_d in the limit m → ∞ at fixed input dimension. At finite m, with c = cos θ_d, "
            "m K(x, z)/(‖x‖‖z‖) = ½(1 + c)χ²_m − ½(1 − c)χ²_m′ + c χ²_m″ with independent χ², so that the mean of K is 2⟨x, z⟩ and its "
            "variance ‖x‖²‖z‖²(1 + 3c²)/m; and E cos θ_h − cos θ_d ≈ −cos θ_d sin²θ_d/(8m)."
        ),
        formula=(
            r"\theta_{h_1}(x, z) = \theta_d(x, z), \quad \mathrm{Var}\,K = \dfrac{1 + 3\cos^2\theta_d}{m}\, \Vert x\Vert^2 \Vert"
            r" z\Vert^2"
        ),
        hypotheses=("Infinite width.", "Entries drawn from N(0, 1).", "unstated: input dimension fixed as m → ∞, and x, z ≠ 0."),
        kind="law",
        audit="OK",
        expected="AGREES",
        reason="Exact in the limit only; at finite m the law of K is the χ² mixture, and cos θ_h deviates from cos θ_d by O(m^(−1/2)).",
        control="The ReLU relation (16) put in place of θ_h = θ_d, and variance (1 + 2c²)/m, must be rejected.",
    ),
    Claim(
        id="G2",
        title="ReLU network: cos θ_h from θ_d",
        sources=("Thm 3.1 [A]", "Eq. (16) [A]", "Eq. (23) [A]", "Eq. (24) [A]"),
        quote="for the ReLU neural network h_2, cos θ_h1(x, z) = ((π − θ_d(x, z))/π) cos θ_d(x, z) + (1/(2π)) sin θ_d(x, z).",
        statement=(
            "For h2 of Eq. (7) [A], as m → ∞, cos θ_h = (1 − θ_d/π) cos θ_d + sin θ_d/(2π). At finite m, for unit inputs, the mean of "
            "K(x, z) is this value exactly and its variance is (1/m){[5sc + P(1 + 7c²)]/(2π) − μ²} with P = π − θ_d, c = cos θ_d, "
            "s = sin θ_d; and m K(x, x) given N ~ Bin(m, ½) is χ²_(2N)."
        ),
        formula=r"\cos\theta_{h_2} = \dfrac{\pi - \theta_d}{\pi} \cos\theta_d + \dfrac{1}{2\pi} \sin\theta_d",
        hypotheses=("Infinite width.", "Entries drawn from N(0, 1).", "unstated: x, z ≠ 0."),
        kind="law",
        audit="TYPO",
        expected="AGREES",
        reason=(
            "Quadrature of the terms A and B of the proof gives the formula to 1e-12; the subscript h1 in the theorem and in Eq. (24) "
            "should be h2. Almost sure convergence follows from the law of large numbers, a step that the proof leaves out."
        ),
        control="1/π in place of 1/(2π) before sin θ_d must be rejected at every interior angle.",
    ),
    Claim(
        id="G3",
        title="Derivative of the ReLU relation",
        sources=("Eq. (27) [A]",),
        quote="which is always non-positive in [0, π/2].",
        statement="d cos θ_h/dθ_d = −cos θ_d/(2π) − (1 − θ_d/π) sin θ_d, which is ≤ 0 on [0, π/2].",
        formula=(
            r"\dfrac{d \cos\theta_h}{d\theta_d} = -\dfrac{1}{2\pi} \cos\theta_d - \left(1 - \dfrac{\theta_d}{\pi}\right)"
            r" \sin\theta_d \leq 0"
        ),
        hypotheses=("One hidden layer, infinite width.", "θ_d in [0, π/2]."),
        kind="exact",
        audit="OK",
        expected="AGREES",
        reason="Confirmed by symbolic and high-precision differentiation.",
        control="On (142.57°, 180°] the derivative is positive: the sign clause must be rejected there.",
    ),
    Claim(
        id="G4",
        title="θ_h is monotone in θ_d on [0, π/2]",
        sources=("Cor. 3.2 [A]", "Cor. A.3(2) [A]", "Thm 3.1(2) [B]"),
        quote=("for any inputs x, z and z′, if 0 ≤ θ_d(x, z) ≤ θ_d(x, z′) ≤ π/2, then 0 ≤ θ_hi(x, z) ≤ θ_hi(x, z′) ≤ π/2, for i ∈ {1, 2}."),
        statement=(
            "With cos θ_l = κ1(θ_(l−1)), Θ_0 = cos θ_0 and Θ_l = cos θ_l + κ0(θ_(l−1))Θ_(l−1), cos θ_h = Θ_L/(L + 1) is strictly "
            "decreasing in θ_0 = θ_d on [0, π/2] and stays in [0, 1], for every depth L. The range attained is [0, θ_max(L)]: "
            "80.84° at L = 1, 71.56° at L = 10, tending to 75.52°."
        ),
        formula=(
            r"(L+1)\cos\theta_h = \cos\theta_L + \sum_{l=1}^{L} \cos\theta_{l-1} \prod_{k=l}^{L}"
            r" \left(1 - \dfrac{\theta_{k-1}}{\pi}\right)"
        ),
        hypotheses=("Infinite width.", "θ_d ≤ π/2.", "unstated: all L + 1 matrices trained with equal weight (Eq. (2) [B])."),
        kind="exact",
        audit="OK",
        expected="AGREES",
        reason=(
            "Sum of products of non-negative decreasing functions, strictly since κ0 is strict; no exception for L = 1…200 on "
            "20 001 grid points."
        ),
        control=(
            "Beyond the hypothesis it is false: for L = 1 θ_h falls again past θ_d = 142.57° (maximum 93.92°); that range must be rejected."
        ),
    ),
    Claim(
        id="G5",
        title="Small θ_d gives small θ_h",
        sources=("Cor. A.3(1) [A]", "Thm 3.1(1) [B]"),
        quote="given two inputs x and z, if θ_d(x, z) ≪ 1, then θ_h(x, z) ≪ 1;",
        statement=(
            "At fixed depth 1 − cos θ_h = L θ_d/(2π) + O(θ_d²), hence θ_h ≈ √(L θ_d/π), and 1 − cos θ_h ≤ L θ_d/(2π) + θ_d²/2 on "
            "[0, π/2]. 'Small' means θ_d ≪ 1/L; at fixed θ_d > 0, cos θ_h → 1/4 (75.52°) as L → ∞."
        ),
        formula=r"1 - \cos\theta_h = \dfrac{L\,\theta_d}{2\pi} + O(\theta_d^2), \quad \theta_h \approx \sqrt{L\,\theta_d / \pi}",
        hypotheses=("Infinite width.", "unstated: depth is fixed, θ_d ≪ 1/L; the implication is not uniform in depth."),
        kind="rate",
        audit="HYP",
        expected="AGREES",
        reason=(
            "True for each fixed depth, with a square root: the log-log slope is 1/2 with coefficient √(L/π) (ratio 1.000 ± 0.002 for "
            "L = 1…100), so that 1° already gives θ_h ≈ 4.3°·√L."
        ),
        control="Proportionality θ_h ∝ θ_d (slope 1, right for linear networks) must be rejected for ReLU.",
    ),
    Claim(
        id="G6",
        title="AᵀA/m → I, and the Chebyshev bound (29)",
        sources=("Lemma A.2 [A]", "Eq. (28) [A]", "Eq. (29) [A]"),
        quote=(
            "Now applying Chebyshev's inequality we get, Pr(|(1/m)AᵀA − I_d| ≥ ε) ≤ Var((1/m)(AᵀA))/ε (29) Obviously for any ε ≥ 0 as "
            "m → ∞, the R.H.S. goes to zero."
        ),
        statement=(
            "The entries of AᵀA/m have variance 1/m off and 2/m on the diagonal, and each deviates from I by ε or more with "
            "probability at most Var/ε."
        ),
        formula=r"P\left(|\,(A^{\top}A/m - I)_{ij}\,| \geq \epsilon\right) \leq \dfrac{\mathrm{Var}\,(A^{\top}A/m)_{ij}}{\epsilon}",
        hypotheses=("Entries of A drawn from N(0, 1).", "unstated: ε > 0, and d is fixed, or d²/m → 0."),
        kind="law",
        audit="ERR",
        expected="DISAGREES",
        reason=(
            "The variances are right; (29) lacks a square on ε and is false: off the diagonal, m = 100, ε = 0.1 gives P = 0.314 "
            "against 0.1."
        ),
        correction=(
            "Chebyshev's inequality needs ε² (and ε > 0). For the whole matrix E‖AᵀA/m − I‖_F² = d(d + 1)/m exactly, hence "
            "P(‖AᵀA/m − I‖_F ≥ ε) ≤ d(d + 1)/(mε²); convergence in probability stands."
        ),
        correction_formula=r"P\left(\Vert A^{\top}A/m - I \Vert_F \geq \epsilon\right) \leq \dfrac{d(d+1)}{m\,\epsilon^2}",
        control="The printed bound Var/ε at m = 100, ε = 0.1 must be exceeded by the observed frequency.",
    ),
    Claim(
        id="G7",
        title="∇h stays constant during training",
        sources=("Remark 3.3 [A]", "Sec. 4.1 [A]", "Sec. 4.1 [B]"),
        quote=(
            "As discussed in (Liu et al., 2020; 2022b), the model derivative ∇h(w; x) is constant during optimization for infinitely "
            "wide neural networks."
        ),
        statement=(
            "At fixed training time t, ‖∇h(w_t; x) − ∇h(w_0; x)‖/‖∇h(w_0; x)‖ → 0 as m → ∞, as m^(−1/4) for ReLU and m^(−1/2) for a "
            "twice differentiable activation such as tanh. The tangent kernel moves as m^(−3/4) (tanh: 1/m), and so does the distance of "
            "the logits from the network's own linearisation; from its own initial output a network follows the infinite-width prediction "
            "up to m^(−1/2)."
        ),
        formula=r"\dfrac{\Vert \nabla h(w_t) - \nabla h(w_0) \Vert}{\Vert \nabla h(w_0) \Vert} = O(m^{-1/4})\ (\mathrm{ReLU})",
        hypotheses=(
            "Infinite width.",
            "unstated: t is fixed as m → ∞; the two limits do not commute, since logistic logits diverge as t → ∞.",
            "unstated: the cited O(m^(−1/2)) argument needs a twice differentiable activation; ReLU is slower.",
        ),
        kind="rate",
        audit="HYP",
        expected="AGREES",
        reason=(
            "Measured slopes at fixed t, m = 64 … 4096: ReLU −0.27 approaching −1/4, tanh −0.50; kernel drift −0.75 (ReLU), −1.02 (tanh); "
            "distance from the linearisation −0.72 (ReLU; a part of one sign, m^(−1/2), is of order 1/n of it), −1.02 (tanh)."
        ),
        control="In the mean-field scale 1/m on the output ∇h moves by O(1) at every width: a drift that does not shrink must be rejected.",
    ),
    Claim(
        id="G8",
        title="Depth: measured angles follow the limit curves",
        sources=("Fig. 2 [A]", "Fig. 2 [B]", "p. 4 [A]"),
        quote=(
            "We observe that the curves for the 2-layer networks match Theorem 3.1. More importantly, the experiments suggest that the "
            "same or similar relations, as well as Corollary 3.2, still hold for deep neural networks"
        ),
        statement=(
            "At width 512 with 2, 3 and 5 layers the measured cos θ_h follows cos θ_d (linear) and the recursion of row G4 with L = 1, "
            "2, 4 (ReLU), with sd(cos θ_h)·√m of order one. On the diagonal Var K(x, x)/(E K(x, x))² = L(11L + 7)/(3(L + 1)m) + O(m^(−2))."
        ),
        formula=r"\dfrac{\mathrm{Var}\,K(x,x)}{(\mathbb{E}\,K(x,x))^2} = \dfrac{L(11L+7)}{3(L+1)\,m} + O(m^{-2})",
        hypotheses=("Width large against depth.", "unstated: for L ≥ 2 the mean off the diagonal has a bias O(L/m)."),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="m · relative variance observed/predicted: 2.94/3 (L = 1), 6.72/6.44 (L = 2), 18.0/17.2 (L = 5).",
        control="The curve of the neighbouring depth (L + 1 in place of L) must be rejected at width 512.",
    ),
    Claim(
        id="G9",
        title="∇h preserves the cluster structure",
        sources=("Fig. 3 [A]", "Fig. 3 [B]", "Sec. 3 [B]"),
        quote=(
            "Hence, the map ∇h : x ↦ ∇h(x), from input space to the space of model derivatives, is expected to preserve the "
            "cluster structures."
        ),
        statement=(
            "Pairs from the same cluster have smaller θ_h than pairs from different clusters: the area under the ROC curve of θ_h for "
            "'within' against 'between' exceeds 1/2 and equals that of θ_d, the map being monotone on [0, π/2]. At width m the scatter "
            "of the angles, a few hundredths of a radian at m = 1024, lowers it by less than 0.005."
        ),
        formula=r"P\left(\theta_h(\mathrm{within}) < \theta_h(\mathrm{between})\right) > \dfrac{1}{2}",
        hypotheses=(
            "unstated: angles within a class are smaller than angles between classes.",
            "unstated: depth far below the critical depth of row X8, beyond which all angles approach 75.5°.",
        ),
        kind="phenomenon",
        audit="HYP",
        expected="AGREES",
        reason=(
            "Order is preserved, contrast is not: mean cos θ_h on MNIST 7/9 is 0.50 within and 0.45 between classes. The area is 0.95 for "
            "MNIST 0/1 and only 0.62 for MNIST 7/9, of the inputs and of the gradients alike."
        ),
        control="Shuffled cluster memberships must give an area of 1/2.",
    ),
)
