"""Operators, one file for each kind. :mod:`nbflow.operators.base` describes their methods."""
