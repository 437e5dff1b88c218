"""Triggers: what deferred tasks wait for. One file a family; :mod:`nbflow.triggers.base` says how they work."""
