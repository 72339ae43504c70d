"""Who may do what: API keys, JSON Web Tokens, and the record of what was done."""
