"""Print the table: `.venv/bin/python -m tests.mutants`."""

from tests.mutants.museum import table

print(table())
