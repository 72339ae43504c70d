"""PostgreSQL: the pool, transactions, migrations, the embedded server. No table is defined here."""
