"""The delivery engine: intake, planning, dispatch, pacing, retry, settlement, outbox, dead letters.

Nothing here knows a broker, a web framework or a provider.
"""
