"""Formulas in plain signs: every one of the register is translated whole, and fractions keep their meaning."""

from __future__ import annotations

import pytest

from reports.plain_formulas import plain_formula
from theory.claims import CLAIMS

FORMULAS = {
    f"{claim.id}-{kind}": text
    for claim in CLAIMS.values()
    for kind, text in (("printed", claim.formula), ("corrected", claim.correction_formula))
    if text
}


@pytest.mark.parametrize("latex", FORMULAS.values(), ids=FORMULAS)
def test_every_formula_of_the_register_is_translated(latex: str) -> None:
    plain = plain_formula(latex)
    assert "\\" not in plain
    assert plain.count("(") == plain.count(")")
    assert plain.count("‖") % 2 == 0


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (r"\dfrac{1}{2\pi}", "1/(2π)"),
        (r"\dfrac{a + b}{c_1}", "(a + b)/c_1"),
        (r"\dfrac{\delta}{(C-1)(1-\delta)}", "δ/((C − 1)(1 − δ))"),
        (r"\log\dfrac{1-\delta}{\delta} - h_0", "log ((1 − δ)/δ) − h_0"),
        (r"\dfrac{\dfrac{a}{b}}{c}", "a/b/c"),
        (r"\dfrac{a}{\dfrac{b}{c}}", "a/(b/c)"),
        (r"\Vert x \Vert^2 - \cos^2\theta_d", "‖x‖² − cos²θ_d"),
        (r"-\hat{y}, \overline{|f - y|}_{\mathrm{clean}}", "−ŷ, mean(|f − y|)_clean"),
        (r"m^{-1/4} \quad x_{t+1}^{\top}", "m^(−1/4)   x_(t + 1)ᵀ"),
    ],
)
def test_signs(latex: str, plain: str) -> None:
    assert plain_formula(latex) == plain


@pytest.mark.parametrize(
    ("latex", "message"),
    [
        (r"\unknown{x}", "known commands only"),
        ("{a", "'{' too many"),
        ("a}", "'}' too many"),
        ("a_", "lacks its argument"),
    ],
)
def test_what_is_not_known_is_one_line(latex: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        plain_formula(latex)
    assert "\n" not in str(error.value)
