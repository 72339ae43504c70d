"""Triggers: stored rules that make notifications and mailings at a time or when something happens.

Their clock is a table. Taskiq is known to `schedule.py` only.
"""
