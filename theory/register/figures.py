"""The figures of the papers, each by its caption in [A], and the discussion's claim on overfitting."""

from __future__ import annotations

from theory.register.record import Claim

__all__ = ["ROWS"]

_RATES_NOT_STATED = "unstated: learning rate, number of epochs and of runs, initialisation and input scaling."
_FIXED_CURVE = "unstated: the early stopping point is the minimum of the test error."

_CLEAN_NOISE_CAPTION = (
    "in the early stage (before the vertical dash line), clean subset error decreases, while noisy subset error increases. Middle: In the "
    "early stage, the clean subset average residual "
)

ROWS = (
    Claim(
        id="F1",
        title="Fig. 1: U-shaped test error of a CNN",
        sources=("Fig. 1 [A]", "Fig. 1 [B]"),
        quote=(
            "Classification errors on training and test datasets of MNIST using CNN. Test error exhibits a U-shaped curve, and can be "
            "significantly lower than the noise level during training."
        ),
        statement=(
            "In every seed the test error has an interior minimum, below δ by more than two standard errors, and its final value exceeds "
            "the minimum by more than two standard errors."
        ),
        formula=(
            r"\min_t \mathrm{err}_{\mathrm{test}}(t) < \delta, \quad \mathrm{err}_{\mathrm{test}}(T) > \min_t"
            r" \mathrm{err}_{\mathrm{test}}(t)"
        ),
        hypotheses=(_RATES_NOT_STATED, "unstated: noise level of this figure (30 % in App. B)."),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="Row X7 gives the U-curve exactly for kernel machines; networks follow it in shape.",
        control="δ = 0 must give no rise after the minimum; permuted labels must give no minimum below δ.",
    ),
    Claim(
        id="F2",
        title="Fig. 2: θ_h against θ_d at several depths",
        sources=("Fig. 2 [A]", "Fig. 2 [B]"),
        quote=(
            "Relation between θ_h and θ_d. For both shallow and deep neural networks, similar inputs (small angle θ_d) induce "
            "similar model "
            "derivatives (small angle θ_h)."
        ),
        statement=(
            "At width 512 the measured curves of linear and ReLU networks with 2, 3 and 5 layers lie on the limits of rows G1 and G4."
        ),
        formula=r"\cos\theta_h = \dfrac{\Theta_L(\theta_d)}{L + 1}, \quad L = 1, 2, 4",
        hypotheses=("Hidden layers of 512 neurons.", "unstated: θ_d ≤ π/2 for the word 'similar'."),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="Limit curve plus exact finite-width variance (rows G1, G2, G8).",
        control="The curves of neighbouring depths must be told apart.",
    ),
    Claim(
        id="F3",
        title="Fig. 3: two clusters stay two clusters",
        sources=("Fig. 3 [A]", "Fig. 3 [B]"),
        quote=(
            "(Left) Data visualization: two separated data clusters in 2-dimensional space. (Right) Distributions of angle θ_h for sample "
            "pairs from the same cluster (“within”) and from different clusters (“between”)."
        ),
        statement=(
            "Measured 'within' and 'between' histograms of θ_h equal the images of the θ_d histograms under the map of row G4, L = 2."
        ),
        formula=r"\theta_h = \arccos\left(\Theta_2(\theta_d)/3\right)",
        hypotheses=("3-layer ReLU network, width 512.", "unstated: position and spread of the clusters."),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="A deterministic map of the input angles up to O(m^(−1/2)).",
        control="Shuffled cluster memberships must give equal histograms.",
    ),
    Claim(
        id="F4",
        title="Fig. 4: angles of sample-wise gradients",
        sources=("Fig. 4 [A]", "Fig. 4 [B]"),
        quote=(
            "The distributions of θ_g. Left: synthetic data in Figure 3 (δ = 0.3), Right: two classes MNIST ((“0” and 1”, δ = 0.3). Dash "
            "lines represent subset gradients. Both cases use a 2-layer ReLU neural network."
        ),
        statement=(
            "Clean, noisy and other samples of a class make small, large and intermediate angles with g_clean^(c), each as the closed form "
            "of row I2 gives it; the noise gradient is close to 180°."
        ),
        formula=r"\cos\angle(\nabla l_i, g_S) = \dfrac{\mathrm{sgn}(r_i)\,(K r_S)_i}{\sqrt{K_{ii}\; r_S^{\top} K r_S}}",
        hypotheses=(
            "δ = 0.3.",
            "unstated: digits and depth; the caption has 0/1 and a 2-layer network, App. B 7/9 and two hidden layers.",
        ),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="MNIST 0/1: 42.8°, 138.5°, 114.5° on average, from the closed form.",
        control="Shuffled segment masks must mix the three histograms.",
    ),
    Claim(
        id="F5",
        title="Fig. 5: learning dynamics, MNIST 7/9",
        sources=("Fig. 5 [A]", "Fig. 5 [B]"),
        quote=(
            "Learning dynamics on two classes (“7” and “9”) of MNIST (noise level δ = 0.4) with FCN. Left: "
            + _CLEAN_NOISE_CAPTION
            + "E_{(x,y)∈D_clean}[|f(w; x)−y|] decreases, i.e., on average the network outputs of clean subset move towards the labels, "
            "indicating a “learning” on the clean subset. One the other hand, the noisy subset average residual, "
            "E_{(x,y)∈D_noise}[|f(w; x) − y|], monotonically increases, indicating that the noisy subset is not-learned. Right: total test "
            "error and total training error."
        ),
        statement=(
            "From the start to the minimum of the test error clean error and clean mean residual fall, noisy error and noisy mean residual "
            "rise; afterwards the noisy ones fall to 0."
        ),
        formula=(
            r"\overline{|f-y|}_{\mathrm{clean}} \downarrow, \quad \overline{|f-y|}_{\mathrm{noise}} \uparrow \quad (t <"
            r" t_{\mathrm{stop}})"
        ),
        hypotheses=("Two hidden layers of 512, batch size 256.", _RATES_NOT_STATED, _FIXED_CURVE, "unstated: epoch averages."),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason=(
            "Net change between start and stopping point has the stated signs; step by step it is not monotone (with the infinite-width "
            "kernel the noisy error peaks at t = 7, before the stopping point t = 11)."
        ),
        control="δ = 0, permuted labels, and shuffled masks: noisy and clean curves must not separate.",
    ),
    Claim(
        id="F6",
        title="Fig. 6: ratio of gradient norms falls",
        sources=("Fig. 6 [A]", "Fig. 6 [B]"),
        quote=(
            "Diminishing dominance of clean gradient. The ratio ‖g^(c)_clean(w)‖/‖g^(c)_noise(w)‖ monotonically decreases in the "
            "early stage "
            "(before the vertical dash line), as a consequence of the clean-priority learning, as predicted by Theorem 4.5. Experiment "
            "setting is the same as in Figure 5."
        ),
        statement=(
            "The logarithm of the ratio, averaged over an epoch and both classes, starts near log((1 − δ)/δ) and decreases until the "
            "minimum of the test error."
        ),
        formula=(
            r"\log \dfrac{\Vert g_{\mathrm{clean}}^{(c)} \Vert}{\Vert g_{\mathrm{noise}}^{(c)} \Vert} \downarrow \quad (t <"
            r" t_{\mathrm{stop}})"
        ),
        hypotheses=(
            "Two hidden layers of 512, batch size 256.",
            _RATES_NOT_STATED,
            "unstated: small initial outputs, else the two classes start at reciprocal offsets (row I5).",
        ),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason=(
            "PyTorch's default initialisation has class-mean logits of sd 0.04, so that the start is 1.5 within 8 %; both classes "
            "then fall."
        ),
        control="Clean and noise exchanged, or shuffled masks, must be rejected.",
    ),
    Claim(
        id="F7",
        title="Fig. 7: dynamics with ten classes",
        sources=("Fig. 7 [A]", "Fig. 7 [B]"),
        quote=(
            "Learning dynamics on multi-class classification. Left: "
            + _CLEAN_NOISE_CAPTION
            + "E_{(x,y)∈D_clean}[‖f(w; x)−y‖] decreases, i.e., on average the network outputs of clean subset move towards the labels, "
            "indicating a “learning” on the clean subset. One the other hand, the noisy subset average residual, "
            "E_{(x,y)∈D_noise}[‖f(w; x) − y‖], monotonically increases, indicating that the noisy subset is not-learned. Right: total test "
            "error and total training error. See subset loss curves in Appendix C."
        ),
        statement="Row F5 for MNIST with a CNN (δ = 0.3) and CIFAR-10 with ResNet-9 (δ = 0.4), with ‖f − y‖ as the residual.",
        formula=(
            r"\overline{\Vert f-y \Vert}_{\mathrm{clean}} \downarrow, \quad \overline{\Vert f-y \Vert}_{\mathrm{noise}} \uparrow"
            r" \quad (t < t_{\mathrm{stop}})"
        ),
        hypotheses=("Batch size 512.", _RATES_NOT_STATED, _FIXED_CURVE, "unstated: treatment of BatchNorm (row R5)."),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="The collapsed softmax model gives the same recursion as two classes (rows X1, M5); the figure's shape follows.",
        control="δ = 0 and permuted labels: the curves of the two segments must not separate.",
    ),
    Claim(
        id="F8",
        title="Fig. 8: single-logit ratio, ten classes",
        sources=("Fig. 8 [A]", "Fig. 8 [B]"),
        quote=(
            "Diminishing dominance of the clean gradient on multi-class classification. The ratio ‖g^(c)_clean(w)‖/‖g^(c)_noise(w)‖ "
            "monotonically decreases in the early stage (before the vertical dash line), as a consequence of the clean-priority learning. "
            "Left: MNIST on CNN (noise level δ = 0.3); Right: CIFAR-10 on ResNet (noise level δ = 0.4)."
        ),
        statement=(
            "The logarithm of the single-logit ratio starts near log((C − 1)(1 − δ)/δ), that is at 21 (δ = 0.3) and 13.5 (δ = 0.4), and "
            "decreases until the minimum of the test error."
        ),
        formula=(
            r"\dfrac{\Vert g_{\mathrm{clean}}^{(c)}(w_0) \Vert}{\Vert g_{\mathrm{noise}}^{(c)}(w_0) \Vert} \approx"
            r" \dfrac{(C-1)(1-\delta)}{\delta}"
        ),
        hypotheses=("Batch size 512.", _RATES_NOT_STATED, "unstated: f(w0; ·) close to 1/C."),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="Start values 21 and 13.5 from row M3; the fall is row D10 in the multi-class recursion of row X1.",
        control="The ratio at another logit starts at 3.22 (2.39) and must be told apart; shuffled masks must be rejected.",
    ),
    Claim(
        id="F9",
        title="Fig. 9: U-shaped error of kernel machines",
        sources=("Fig. 9 [A]",),
        quote=(
            "Classification errors on training and test datasets of MNIST, 7 versus 9 subset, using kernel machine with both Laplacian and "
            "Gaussian kernels. We added label noise level of 0.4 to the training set. On test data set, the classification error "
            "exhibits a "
            "U-shaped curve, and can be significantly lower than the noise level during training."
        ),
        statement=(
            "Gradient descent with the squared loss on Gaussian and Laplacian kernels has a U-shaped test error with minimum below "
            "δ = 0.4; "
            "the whole curve follows row X7."
        ),
        formula=(r"P(\mathrm{err}) \approx \Phi\left(-\dfrac{(1-2\delta)\,\hat{y}\,F_T}{\sqrt{4\delta(1-\delta) \sum_j W_j^2}}\right)"),
        hypotheses=("δ = 0.4.", "unstated: loss, bandwidths and step size."),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="Predicted and simulated curves agree within 0.005 over T = 1…1e7.",
        control="δ = 0 must give no rise; the factor 1 − δ for 1 − 2δ in the prediction must be rejected.",
    ),
    Claim(
        id="F10",
        title="Fig. 10: single-logit gradient angles of a CNN",
        sources=("Fig. 10 [A]", "App. C.1 [A]"),
        quote=(
            "The distributions of θ_g for single-logit sample-wise gradients. MNIST dataset (label noise δ = 0.3) on CNN. Dash lines "
            "represent subset gradients."
        ),
        statement=(
            "For each logit c clean samples of class c lie at small, noisy at large angles to g_clean^(c), 'other' between, "
            "separated from both."
        ),
        formula=(
            r"\sin\angle(g_{\mathrm{other}}^{(c)}, g_{\mathrm{clean}}^{(c)}) = \Theta(1), \quad \angle(g_{\mathrm{noise}}^{(c)},"
            r" g_{\mathrm{clean}}^{(c)}) \approx \pi"
        ),
        hypotheses=("CNN at initialisation, δ = 0.3.", _RATES_NOT_STATED),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="The network's own tangent kernel gives each histogram by the closed form of row I2.",
        control="Shuffled segment masks must mix the histograms.",
    ),
    Claim(
        id="F11",
        title="Fig. 11: noisy loss rises, then falls",
        sources=("Fig. 11 [A]", "App. C.2 [A]"),
        quote=(
            "Training losses on clean and noisy subsets. Left: for binary classification on two class MNIST (“7” and “9”, noise level "
            "δ = 0.4). Middle: for multi-class classification on MNIST (noise level δ = 0.3). Right: for multi-class classification on "
            "CIFAR-10 (noise level δ = 0.4)."
        ),
        statement="The noisy loss rises to a peak and falls; under full-batch descent with small η the peak is the first a ≥ ρ (row X4).",
        formula=r"\dfrac{dL_{\mathrm{noise}}}{dt} > 0 \quad \Leftrightarrow \quad a < \rho",
        hypotheses=(_RATES_NOT_STATED, "unstated: the criterion needs full-batch descent with small η; SGD follows on average."),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="In four kernel runs peak and first a ≥ ρ coincide: 44, 19, 84, 59.",
        control="Shuffled segment masks must break the coincidence; δ = 0 has no noisy loss.",
    ),
    Claim(
        id="F12",
        title="Fig. 12: the same at every width",
        sources=("Fig. 12 [A]", "App. C.3 [A]"),
        quote=(
            "Learning dynamics on two classes (“7” and “9”) of MNIST (noise level δ = 0.4) with FC networks with different widths. Left: "
            + _CLEAN_NOISE_CAPTION
            + "E_{(x,y)∈D_clean}[|f(w; x)− y|] decreases, i.e., on average the network outputs of clean subset move towards the labels, "
            "indicating a “learning” on the clean subset. One the other hand, the noisy subset average residual, "
            "E_{(x,y)∈D_noise}[|f(w; x) − y|], monotonically increases, indicating that the noisy subset is not-learned. Right: total test "
            "error and total training error."
        ),
        statement="Row F5 holds at every width from 32 to 2048, and the size of the effect tends to its infinite-width value.",
        formula=r"\max_t L_{\mathrm{noise}}(t; m) \to \max_t L_{\mathrm{noise}}(t; \infty) \quad (m \to \infty)",
        hypotheses=("Two hidden layers, batch size 256.", _RATES_NOT_STATED, _FIXED_CURVE),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="The mechanism needs no particular width; finite-width terms shrink as m^(−1/2).",
        control="Permuted labels at each width: the curves of the two segments must not separate.",
    ),
    Claim(
        id="F13",
        title="Fig. 13: the same at every noise level",
        sources=("Fig. 13 [A]", "App. C.4 [A]"),
        quote=(
            "Learning dynamics on multi-class classification. Left: "
            + _CLEAN_NOISE_CAPTION
            + "E_{(x,y)∈D_clean}[‖f(w; x)−y‖] decreases, i.e., on average the network outputs of clean subset move towards the labels, "
            "indicating a “learning” on the clean subset. One the other hand, the noisy subset average residual, "
            "E_{(x,y)∈D_noise}[‖f(w; x) − y‖], monotonically increases, indicating that the noisy subset is not-learned. Right: total test "
            "error and total training error. See subset loss curves in Appendix C."
        ),
        statement="Row F7 holds for MNIST with a CNN at δ = 0.1, 0.2, 0.3, 0.4, with a stopping point that moves with δ.",
        formula=r"\min_t \mathrm{err}_{\mathrm{test}}(t) < \delta \quad \mathrm{for} \quad \delta = 0.1, \ldots, 0.4",
        hypotheses=("Batch size 512.", _RATES_NOT_STATED, _FIXED_CURVE, "Noise below the threshold (C − 1)/C (row X9)."),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="All four levels lie far below the multi-class threshold 0.9.",
        control="δ = 0.95, above the threshold (C − 1)/C, reverses the roles and must be rejected as clean priority.",
    ),
    Claim(
        id="P1",
        title="Overfitting is tempered",
        sources=("Sec. 6 [A]",),
        quote=(
            "It suggests that while the model is fitting the noise, the test performance at convergence is not catastrophic, and still "
            "outperforms the random guess. This, in turn, implies that neural networks demonstrate a tempered over-fitting behavior"
        ),
        statement="After the training data are fitted the test error lies above its minimum and below random guessing, (C − 1)/C.",
        formula=r"\min_t \mathrm{err}_{\mathrm{test}}(t) < \mathrm{err}_{\mathrm{test}}(\infty) < \dfrac{C-1}{C}",
        hypotheses=("Training data fitted exactly.", "δ < (C − 1)/C.", _RATES_NOT_STATED),
        kind="phenomenon",
        audit="EMP",
        expected="AGREES",
        reason="A Gaussian kernel machine (row X7) ends at 0.364, between its minimum 0.144 and 0.5.",
        control="Permuted labels must end at random guessing.",
    ),
)
