"""Who is told: recipients, their contacts, preferences and topics. Knows no web framework and no sender."""
