"""The pure core: states, rules, timetables, plans. Data in, data out; no clock, random, I/O, threads or logging."""
