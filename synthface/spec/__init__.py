"""The spec language: YAML in, frozen dataclasses out. `load_spec` reads, `resolve` fits a spec to a generator."""

from synthface.spec.layout import LayoutReport, check_against_layout, resolve
from synthface.spec.loader import load_spec
from synthface.spec.model import Spec
from synthface.spec.schema import schema, schema_json

__all__ = ["LayoutReport", "Spec", "check_against_layout", "load_spec", "resolve", "schema", "schema_json"]
