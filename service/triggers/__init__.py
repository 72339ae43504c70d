"""Triggers: stored rules that make notifications and mailings at a time or when something happens."""
