"""Operators: tasks that do something. One file a member; :mod:`nbflow.operators.base` says how they work."""
