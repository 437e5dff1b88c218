"""Live views: widgets, server-sent events and ``logs -f`` follow the same feed.

A surface makes one ``Feed`` of its store and watches queries of ``nbflow.views``:

    feed          the thread that follows the history and updates the watched views
    shared_views  the watched views: one fetch and one patch per query, shared by all its watches
    log_follower  follows the log of a try as it grows
"""
