"""Hooks: clients of services, created from a connection. One file for each service; the table in
:mod:`.connection_types` maps a connection's type to its hook."""
