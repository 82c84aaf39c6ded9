"""A bot on python-telegram-bot that tells on standard output what it was sent."""

import os

from telegram.ext import Application, MessageHandler, filters


async def told(update, _context):
    print(f"handled: {update.message.text}", flush=True)


api = os.environ["BOT_API"]
bot = Application.builder().token("1:token").base_url(f"{api}/bot").base_file_url(f"{api}/file").build()
bot.add_handler(MessageHandler(filters.TEXT, told))
bot.run_webhook(
    listen="127.0.0.1",
    port=int(os.environ["PORT"]),
    url_path="bot",
    webhook_url="https://crm.example/telegram",
    secret_token=os.environ["BOT_SECRET"],
)
