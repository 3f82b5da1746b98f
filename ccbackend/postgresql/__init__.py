"""The database engine of PostgreSQL, with which locks are waited for no longer than DATABASE_WAIT."""
