"""The Telegram bot: updates in, what people see and press."""
