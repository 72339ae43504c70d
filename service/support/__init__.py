"""The support desk: tickets, their conversations and what is relayed. It knows no channel's protocol."""
