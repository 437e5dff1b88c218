"""How fast nbflow is, measured against floors of the same machine and minute: ``make bench``.

A module here is a row of the table: it makes its own home and metastore, measures some runs, and returns *figures*. A
figure is a list of samples, one a run, with what it was to reach and, where the row names one, the samples of a
*floor*: what the operating system and the database alone need for such work, measured between the runs. Absolute times
say as much about the machine and its neighbours as about nbflow; **ratios to the floor are what to compare**, within
one run and from one machine to another.

Nothing is simulated: homes are made by ``App.open``, tasks run in processes under the real scheduler and executor, and
commands are whole processes.
"""
