"""The pure core: states, rules, timetables, plans. Data in, data out; no clock, chance, I/O, threads or logging."""
