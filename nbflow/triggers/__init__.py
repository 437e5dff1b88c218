"""Triggers: the conditions that deferred tasks wait for. :mod:`nbflow.triggers.base` describes them."""
