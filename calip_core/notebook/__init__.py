"""What the chapters share: checked parameters, accessible output, graded exercises."""

from calip_core.notebook.exercises import grade
from calip_core.notebook.output import interactive, prose, show, table
from calip_core.notebook.parameters import (
    BackboneName,
    Choice,
    CloudTaskName,
    Count,
    Minutes,
    ParameterError,
    Positive,
    ProjectionName,
    Seed,
    TaskName,
    check_parameters,
)

__all__ = [
    "BackboneName",
    "Choice",
    "CloudTaskName",
    "Count",
    "Minutes",
    "ParameterError",
    "Positive",
    "ProjectionName",
    "Seed",
    "TaskName",
    "check_parameters",
    "grade",
    "interactive",
    "prose",
    "show",
    "table",
]
