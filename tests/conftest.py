"""Settings for every test: repeatable hypothesis examples, helper modules on the import path."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("repeatable")

for helpers in ("oracle", "trees", "cli", "golden", "docs"):
    sys.path.insert(0, str(Path(__file__).parent / helpers))
