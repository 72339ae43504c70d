"""Who may do what: API keys, JSON Web Tokens, signed links, and the record of what was done.

It knows no route: `api` asks it.
"""
