"""Sensors: tasks that wait for something. One file a member; :mod:`nbflow.sensors.base` says how they work."""
