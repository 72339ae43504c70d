"""The Telegram bot: updates in, what people and specialists see and press. The only edge that knows aiogram.

What a press does is decided in `audience` and `support`. Notifications leave through the `TG` sender, not here.
"""
