"""What tests of the stages' loops share with those of whole runs."""

from tests.experiments.conftest import cache, no_compute, patch

__all__ = ["cache", "no_compute", "patch"]
