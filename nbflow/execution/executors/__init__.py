"""One module per executor; :mod:`.base` states the interface: who calls each method, and when."""
