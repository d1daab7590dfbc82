"""How a fork gets its prefix: the server still holds it, a saved state is restored, or it is read anew."""

from interwhen.models.base import Route
from interwhen.planning.planned import PlannedModel, Shelving
from interwhen.planning.planner import ForkPlanner, Shown
from interwhen.planning.probing import probe_rates
from interwhen.planning.rates import Probe, Rates, Work, calibrate, work_of
from interwhen.planning.situations import Actual, Planned, Planner, Situation

__all__ = [
    "Actual",
    "ForkPlanner",
    "Planned",
    "PlannedModel",
    "Planner",
    "Probe",
    "Rates",
    "Route",
    "Shelving",
    "Shown",
    "Situation",
    "Work",
    "calibrate",
    "probe_rates",
    "work_of",
]
