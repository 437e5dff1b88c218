"""The same core on a virtual clock: a week of scheduling in the time that its decisions take."""
