"""Broadcasts to an audience: walked in bounded steps, paused in a second, counted to the last one.

A mailing makes deliveries and looks at what became of them; sending them is `delivery`'s.
"""
