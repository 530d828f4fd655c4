"""conf.d: the schema, and reading it with every mistake at once."""
