"""Set-up statements (Sec. 2 of both papers): gradients, noise, outputs, initialisation."""

from __future__ import annotations

from theory.register.record import Claim

__all__ = ["ROWS"]

ROWS = (
    Claim(
        id="S1",
        title="Sample-wise gradient is residual times ∇h",
        sources=("Eq. (5) [A]", "Eq. (4) [B]"),
        quote=(
            "The sample-wise gradient for a given sample (x_i, y_i) has the following form (Bishop & Nasrabadi, 2006): "
            "∇l_i(w) = (f(w; x_i) − y_i)∇h(w; x_i)."
        ),
        statement=(
            "For the logistic loss on a sigmoid output, ∇l(w; x_i, y_i) = (f_i − y_i)∇h(w; x_i) exactly, at every w. "
            "For the cross entropy on a softmax output, ∇l_i = Σ_c (f_c − y_c)∇h_c(w; x_i)."
        ),
        formula=r"\nabla l_i(w) = (f(w; x_i) - y_i)\, \nabla h(w; x_i)",
        hypotheses=(
            "Logistic loss with a sigmoid output, or cross entropy with a softmax output.",
            "unstated: h is differentiable at w (ReLU: no pre-activation is exactly zero).",
        ),
        kind="exact",
        audit="OK",
        expected="AGREES",
        reason="The derivative of −y ln σ(h) − (1 − y) ln(1 − σ(h)) in h is σ(h) − y; likewise for softmax. Autograd agrees to rounding.",
        control=(
            "Squared loss ½(f − y)² on the sigmoid output: its gradient has the extra factor f(1 − f), and the product form must miss it."
        ),
    ),
    Claim(
        id="S2",
        title="Noise level and uniform label corruption",
        sources=("Eq. (1) [A]", "Eq. (2) [A]", "Sec. 2 [B]"),
        quote=(
            "Furthermore, the labels y_i in D_noise is uniformly randomly distributed across all the class labels except ŷ_i. "
            "[…] The noise level δ is defined as the ratio |D_noise|/|D|. In this paper, we set δ < 0.5, i.e., the majority of "
            "training samples are not corrupted."
        ),
        statement=(
            "δ = |D_noise|/|D| with D_noise = {(x, y) ∈ D: y ≠ ŷ}, and given y ≠ ŷ the label is uniform on the C − 1 wrong classes. "
            "δ is a global ratio; class-wise formulas use δ_c = |D_noise^(c)|/|D^(c)|."
        ),
        formula=r"\delta = \dfrac{|\mathcal{D}_{\mathrm{noise}}|}{|\mathcal{D}|}, \quad P(y = k\,|\,y \neq \hat{y}) = \dfrac{1}{C-1}",
        hypotheses=(
            "δ < 1/2.",
            "unstated: the noise level is the same in every class, δ_c = δ, wherever a class-wise formula uses δ.",
            "unstated: for C > 2 the natural threshold is δ < (C − 1)/C, not 1/2 (row X9).",
        ),
        kind="law",
        audit="DEF",
        expected="AGREES",
        reason="A definition: the corrupted labels have the stated count exactly, and their classes pass a multinomial test.",
        control="Symmetric resampling over all C classes, the true one among them, realises only δ(C − 1)/C and must be rejected.",
    ),
    Claim(
        id="S3",
        title="Every network output lies in (0, 1)",
        sources=("Sec. 2 [A]", "Sec. 2 [B]"),
        quote="In both cases, each output neuron has a value in (0, 1).",
        statement="f = σ(h) ∈ (0, 1) for two classes, and f_c = softmax(h)_c ∈ (0, 1) with Σ_c f_c = 1 for C classes, at every w and x.",
        formula=r"0 < f(w; x) < 1, \quad \sum_{c} f_c(w; x) = 1",
        hypotheses=(
            "Sigmoid or softmax output.",
            "unstated: exact arithmetic; in float64 the sigmoid rounds to 1 for h above 37, in float32 above 17.",
        ),
        kind="exact",
        audit="OK",
        expected="AGREES",
        reason="A property of sigmoid and softmax of finite logits.",
        control="A network whose logits are returned as outputs (sigmoid left out) leaves (0, 1) and must be rejected.",
    ),
    Claim(
        id="S4",
        title="ReLU network of Eq. (2): E K(x,x) = (L+1)|x|²",
        sources=("Eq. (2) [B]",),
        quote=(
            "Each individual parameter is i.i.d. initialized using the normal distribution N(0, 1). m is the network width, "
            "and we are interested in the infinite width limit m → ∞."
        ),
        statement=(
            "For h(w; x) = W^(L+1) σ(√(2/m) W^(L) ⋯ σ(√(2/m) W^(1) x)) with N(0, 1) entries, norms are preserved at every layer, "
            "E‖α^(l)‖² = ‖x‖², each of the L + 1 matrices contributes ‖x‖², and E K(x, x) = (L + 1)‖x‖² at every finite width m. "
            "h is 1-homogeneous in x, so that angles between gradients do not depend on input norms."
        ),
        formula=r"\mathbb{E}\, \Vert \nabla h(w_0; x) \Vert^2 = (L + 1)\, \Vert x \Vert^2 \quad (\mathrm{every}\ m)",
        hypotheses=("All L + 1 matrices are trained.", "No biases.", "L hidden layers of one width m."),
        kind="law",
        audit="OK",
        expected="AGREES",
        reason="Exact in expectation: the fan-out √(2/m) of the first layer makes E‖α^(1)‖² = ‖x‖²; autograd equals the manual gradient.",
        control="The scale √(2/d) in the first layer, or √(1/m) in any layer (a dropped √2), changes the mean and must be rejected.",
    ),
    Claim(
        id="S5",
        title="Two-layer networks: names of the layers",
        sources=("Eq. (6) [A]", "Eq. (7) [A]"),
        quote="v ∈ R^m and A ∈ R^(m×d) are the first layer and second layer parameters, respectively.",
        statement=(
            "h1(w; x) = m^(−1/2) vᵀAx and h2(w; x) = m^(−1/2) vᵀσ(Ax) with A ∈ R^(m×d) the first and v ∈ R^m the second layer. "
            "Eq. (2) [B] with L = 1 is √2 times h2: the same angles, twice the kernel."
        ),
        formula=r"h_1 = \dfrac{1}{\sqrt{m}}\, v^{\top} A x, \quad h_2 = \dfrac{1}{\sqrt{m}}\, v^{\top} \sigma(A x)",
        hypotheses=("All entries of A and v are drawn independently from N(0, 1).",),
        kind="exact",
        audit="TYPO",
        expected="AGREES",
        reason="The equations are right and the shapes leave one reading; only the two names are exchanged in the sentence below them.",
        control="The scale of Eq. (2) [B], √2 larger, must be rejected as an implementation of Eq. (7) [A].",
    ),
    Claim(
        id="S6",
        title="E f(w_0; x) = 0.5 'by random guess'",
        sources=("Eq. (8) [A]", "Eq. (5) [B]"),
        quote=(
            "where the expectation is taken over the corresponding data subset. We know that E[∇h] is the same for clean and noisy "
            "subsets. In addition, E[f(w_0; x)−y] are opposite for these two subsets, as E[f(w_0; x)] is 0.5 by random guess"
        ),
        statement="At one random initialisation w_0, the mean over a data subset of f(w_0; x) is 1/2.",
        formula=r"\mathbb{E}_{x}\, f(w_0; x) = \dfrac{1}{2}",
        hypotheses=("Random initialisation of Eq. (2) [B] or Eqs. (6), (7) [A].",),
        kind="law",
        audit="HYP",
        expected="DISAGREES",
        reason=(
            "At one w_0 the logit is random, with variance ‖x‖² ([B] Eq. (2), [A] Eq. (6)) or ‖x‖²/2 ([A] Eq. (7)): for a tight cluster "
            "of unit inputs the mean output of one network leaves [0.27, 0.73] with probability about 0.32."
        ),
        correction=(
            "E over w_0 of f(w_0; x) is 1/2 exactly at every width (flipping the sign of the last layer). For one w_0 the logit of "
            "Eq. (2) [B] has variance ‖x‖² and kurtosis 3(1 + 5/m)^L; the output is 1/2 only when the output is centred, h − h(w_0; ·)."
        ),
        correction_formula=(
            r"\mathbb{E}_{w_0} f(w_0; x) = \dfrac{1}{2}, \quad \mathrm{Var}\, h = \Vert x \Vert^2, \quad"
            r" \mathrm{kurt}\, h = 3 \left(1 + \dfrac{5}{m}\right)^{L}"
        ),
        control="Networks with a constant bias added to h: the mean over w_0 is not 1/2 and the corrected statement must reject them.",
    ),
    Claim(
        id="S7",
        title="Training data can be fitted exactly",
        sources=("p. 3 [A]", "Sec. 2 [A]"),
        quote="Throughout the paper, we assume that the neural network is large enough so that the training data can be exactly fit.",
        statement="The tangent kernel of the training inputs is positive definite, so that every labelling can be fitted exactly.",
        formula=r"\lambda_{\min}(K) > 0",
        hypotheses=(
            "The network is over-parameterised.",
            "unstated: no two inputs are parallel; with one hidden layer, at most d pairs are antiparallel (∇h(x) − ∇h(−x) is linear in "
            "x for L = 1 without biases).",
        ),
        kind="conditional",
        audit="OK",
        expected="AGREES",
        reason="On data without parallel inputs λ_min(K) > 0 (between 0.02 and 0.08 of the mean diagonal on MNIST 7 against 9).",
        control="A duplicated input with two different labels makes K singular: exact fitting must be reported as impossible.",
    ),
)
