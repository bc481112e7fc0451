"""Data of the claim register, one module per section of the papers; ``theory.claims`` assembles it."""
