"""Running tries of tasks. The supervisor has the database and never runs user code; a child runs user code and never
has the database.

==========================  ==========================================================================================
:mod:`.executors`           what the scheduler drives: ``base`` states the rules; ``local`` and ``sequential``
:mod:`.supervisor`          a try from its claim to its reported end: leases, time limits, logs
:mod:`.process_pool`        the supervisor's handles on processes below it; :mod:`.selector_loop` is what it waits on
:mod:`.fork_server`         those processes: fork servers and children; :mod:`.child` runs one try
:mod:`.user_code`           how they load a DAG version and run a try; :mod:`.task_runner` runs the steps of a try
:mod:`.protocol`            the messages between the two sides
:mod:`.task_client`         requests of a task, on its side; :mod:`.task_api` handles them from the store
:mod:`.process_identity`    processes by pid and start time
:mod:`.logs`                logs of tries; :mod:`.task_log_format` the format of their lines
:mod:`.child_environment`   the environment variables that user code gets
==========================  ==========================================================================================
"""
