"""Running tries of tasks. The supervisor has the database and never runs user code; a child runs user code and never
has the database.

===============================  =======================================================================================
:mod:`.executors`                what the scheduler drives: ``base`` states the rules; ``local`` and ``sequential``
:mod:`.supervisor`               a try from its claim to its reported end: leases, time limits, logs
:mod:`.fork_server_pool`         the supervisor's handles on processes; it waits on :mod:`.selector_loop`
:mod:`.fork_server`              those processes: fork servers and children; :mod:`.child` runs one try
:mod:`.fork_server_main`         their main: load a DAG version, run a try by :mod:`.task_runner`
:mod:`.protocol`                 the messages between the two sides
:mod:`.task_client`              requests of a task, on its side; :mod:`.task_api` handles them from the store
:mod:`.process_identity`         processes by pid and start time
:mod:`.logs`                     logs of tries; :mod:`.task_logging` the format of their lines
:mod:`.environment_allowlist`    the environment variables that user code gets
===============================  =======================================================================================
"""
