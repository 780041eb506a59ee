"""Shared parts of the chapters: checked parameters, accessible output, graded exercises."""

from calip_core.evaluation.seeds import Seed
from calip_core.teaching.exercises import grade
from calip_core.teaching.output import prose
from calip_core.teaching.parameters import (
    AtLeast,
    BackboneName,
    Choice,
    CloudTaskName,
    Count,
    Minutes,
    ParameterError,
    Positive,
    ProjectionName,
    Share,
    TaskName,
    check_parameters,
)
from calip_core.teaching.runtime import show_runtime

__all__ = [
    "AtLeast",
    "BackboneName",
    "Choice",
    "CloudTaskName",
    "Count",
    "Minutes",
    "ParameterError",
    "Positive",
    "ProjectionName",
    "Seed",
    "Share",
    "TaskName",
    "check_parameters",
    "grade",
    "prose",
    "show_runtime",
]
