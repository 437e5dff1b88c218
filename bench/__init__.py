"""Benchmarks: ``make bench`` measures nbflow, and in the same run the floors of the machine.

A module in this package is a row of the table. It creates a home and a metastore, measures several runs, and returns
*figures*. A figure is a list of samples, one for each run, with a target and, for some rows, the samples of a *floor*:
the time that the operating system and the database alone need for the same work, measured between the runs. Absolute
times depend on the machine and its load; compare the **ratios to the floor**, within a run and between machines.

Nothing is simulated: ``App.open`` opens the homes, tasks run in processes under the real scheduler and executor, and
commands run as whole processes.
"""
