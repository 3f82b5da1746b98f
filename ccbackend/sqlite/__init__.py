"""Django's SQLite backend, adapted to many writing processes; the engine of every sqlite:// DATABASE_URL."""
