"""The support desk: tickets, their conversations and what is relayed. It knows no channel's protocol.

What is relayed leaves as deliveries; Telegram's side of the desk is in `bot`, REST's in `api`.
"""
