"""PostgreSQL: the pool, transactions, migrations, the embedded server; pages, ids and columns that all packages use.

No table is defined here, and no statement about one: those are in the packages that own them.
"""
