"""Following what happens: widgets, server-sent events and ``logs -f`` read the same feed.

A surface makes one ``Feed`` of its store and watches queries of ``nbflow.views``:

    feed          the thread that follows the history and keeps what is watched up to date
    shared_views  what is watched: one fetch and one patch a query, shared by all who watch it
    log_follower  the log of a try as it grows
"""
