// A bot on telegraf that tells on standard output what it was sent.
const { createServer } = require("node:http");
const { Telegraf } = require("telegraf");

const bot = new Telegraf("1:token");
bot.botInfo = { id: 1, is_bot: true, first_name: "Desk", username: "desk_bot" };
bot.on("text", (context) => console.log(`handled: ${context.message.text}`));

const receive = bot.webhookCallback("/bot", { secretToken: process.env.BOT_SECRET });
createServer(receive).listen(Number(process.env.PORT), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
