"""Running tries of tasks: the supervisor holds the database and never user code, the child the other way round.

=====================  ===============================================================================================
:mod:`.executors`      what the scheduler drives: ``base`` says the rules, ``local`` and ``sequential`` keep them
:mod:`.supervisor`     a try from its claim to its end: leases, limits, logs, what became of it
:mod:`.process_pool`        the processes below, as the supervisor sees them; :mod:`.loop` is what it waits on
:mod:`.template`       those processes themselves: base, templates, children; :mod:`.child` runs one try
:mod:`.program`        what they do with user code: load a version, run a try
:mod:`.protocol`       the messages between the two sides
:mod:`.asking`         what a task may ask, on its side; :mod:`.task_api` answers it from the store
:mod:`.logs`           logs of tries; :mod:`.environment` what user code gets of the environment
=====================  ===============================================================================================
"""
