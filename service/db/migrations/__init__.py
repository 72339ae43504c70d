"""The history of the schema, a file a step, named by its revision: 0001_….py, 0002_….py."""
