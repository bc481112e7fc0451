"""Root of the harness: the options and fixtures live in reports/plugin.py."""

import os

import h5py  # noqa: F401 - before pytester, which forgets what a test imported first: HDF5 cannot be loaded twice in one process

# Thousands of small matrix products: a second BLAS thread only spins, and sums should not depend on the number of cores.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

pytest_plugins = ["reports.plugin"]
