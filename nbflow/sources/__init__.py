"""Reading DAGs: finding and loading DAG files, notebooks and cells; the names that a cell needs; sources of
versions."""
