"""A benchmark of sick networks: healthy ones with one labelled fault each, and look-alikes."""

from bench.sick.data import Data
from bench.sick.families import Case, cases, family
from bench.sick.faults import FAULTS, Fault
from bench.sick.networks import Setup, Trained

__all__ = ["FAULTS", "Case", "Data", "Fault", "Setup", "Trained", "cases", "family"]
