"""The command line. One module a command group; each command parses, calls one service, prints."""
