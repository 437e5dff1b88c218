"""Reading DAGs: discovery and loading of DAG files, notebooks and cells; free names of cells; sources of versions."""
