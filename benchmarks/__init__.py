"""The comparison with other task queues: `nox -s bench`."""
