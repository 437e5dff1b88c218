"""The shell: loops that ask the core, apply its plans and carry out what was decided. Protocols in, effects out."""
