"""Sensors: tasks that wait for a condition. One file for each sensor; :mod:`nbflow.sensors.base` describes them."""
