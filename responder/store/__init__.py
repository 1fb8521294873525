"""The database: SQLite by default; one folder a database, each behind `ports.Store`."""
