"""Reading DAGs: finding and loading DAG files, notebooks and cells; what a cell needs; the source of a version."""
