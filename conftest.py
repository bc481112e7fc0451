"""Root of the harness: the options and fixtures live in reports/plugin.py."""

pytest_plugins = ["reports.plugin"]
