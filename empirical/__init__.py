"""Empirical: what finite networks do. It measures, and borrows no formula from the theory that it tests."""
