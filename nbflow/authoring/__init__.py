"""Authoring: what a DAG file or a notebook cell is written with. ``compile`` turns it into :mod:`nbflow.core.spec`."""
