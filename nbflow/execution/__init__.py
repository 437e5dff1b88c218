"""Running tries of tasks: the supervisor holds the database and never user code, the child the other way round."""
