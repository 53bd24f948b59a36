"""Diseases of the lung for synthetic chest CT, each painted inside the true lung and returned as a mask.

`draw_lesions` draws plans with all of their parameters, `add_lesions` renders them; each disease is one class.
"""

from datastore.phantom.lesions.plan import LesionPlan
from datastore.phantom.lesions.rendering import KINDS, add_lesions, draw_lesions

__all__ = ["KINDS", "LesionPlan", "add_lesions", "draw_lesions"]
