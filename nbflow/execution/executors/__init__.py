"""One file an executor; :mod:`base` says who calls each method and when."""
