"""Root of the harness: the options and fixtures live in reports/plugin.py."""

import os

# Thousands of small matrix products: a second BLAS thread only spins, and sums should not depend on the number of cores.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

pytest_plugins = ["reports.plugin"]
