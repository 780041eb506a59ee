"""What the chapters share: checked parameters, accessible output, graded exercises."""

from calip_core.notebook.exercises import grade
from calip_core.notebook.output import interactive, percent, prose, show, table
from calip_core.notebook.parameters import (
    AtLeast,
    BackboneName,
    Choice,
    CloudTaskName,
    Count,
    Minutes,
    ParameterError,
    Positive,
    Seed,
    TaskName,
    check_parameters,
)

__all__ = [
    "AtLeast",
    "BackboneName",
    "Choice",
    "CloudTaskName",
    "Count",
    "Minutes",
    "ParameterError",
    "Positive",
    "Seed",
    "TaskName",
    "check_parameters",
    "grade",
    "interactive",
    "percent",
    "prose",
    "show",
    "table",
]
