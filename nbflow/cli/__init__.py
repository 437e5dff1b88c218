"""The command line: one module per command group. A command parses its arguments, calls one service, and prints."""
