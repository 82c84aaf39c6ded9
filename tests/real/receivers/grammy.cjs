// A bot on grammY that tells on standard output what it was sent.
const { createServer } = require("node:http");
const { Bot, webhookCallback } = require("grammy");

const botInfo = { id: 1, is_bot: true, first_name: "Desk", username: "desk_bot" };
const bot = new Bot("1:token", { botInfo });
bot.on("message:text", (context) => console.log(`handled: ${context.message.text}`));

const receive = webhookCallback(bot, "http", { secretToken: process.env.BOT_SECRET });
createServer(receive).listen(Number(process.env.PORT), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
