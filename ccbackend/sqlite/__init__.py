"""Django's SQLite backend with what many writing processes need; the engine of every sqlite:// DATABASE_URL."""
