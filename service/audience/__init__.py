"""Who is told: recipients, their contacts and devices, preferences, topics, audiences as filters, imports.

What becomes of a message is `delivery`'s. Knows no web framework and no sender.
"""
