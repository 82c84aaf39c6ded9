// Signs and verifies webhooks with the senders' own packages for Node: POST {sdk, verb, ...} and get what the verb returns.
// Prints where it listens. NODE_PATH is where the packages are.
import { generateKeyPairSync, sign as signBytes } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const packages = process.env.NODE_PATH;
const load = createRequire(join(packages, "any.js"));
const octokit = await import(join(packages, "@octokit/webhooks-methods/dist-node/index.js"));
const { verifyKey } = load("discord-interactions");
const { EventWebhook, EventWebhookHeader } = load("@sendgrid/eventwebhook");
const standardWebhooks = load("standardwebhooks");
const stripe = load("stripe");
const svix = load("svix");

const DISCORD = { signature: "x-signature-ed25519", time: "x-signature-timestamp" };
const SENDGRID = {
    signature: EventWebhookHeader.SIGNATURE().toLowerCase(),
    time: EventWebhookHeader.TIMESTAMP().toLowerCase(),
};

/** Standard Webhooks, under the names of one vendor's headers. */
const standard = (Webhook, prefix) => ({
    sign: ({ key, body, time, id }) => ({
        [`${prefix}-id`]: id,
        [`${prefix}-timestamp`]: `${time}`,
        [`${prefix}-signature`]: new Webhook(key).sign(id, new Date(time * 1000), body),
    }),
    verify: ({ key, body, headers }) => new Webhook(key).verify(body, headers) !== undefined,
});

/** A key pair: the private key for whoever signs, and the public one in the sender's form. */
const keyPair = (pair, shown) => ({
    signing: pair.privateKey.export({ type: "pkcs8", format: "pem" }),
    configured: shown(pair.publicKey.export({ type: "spki", format: "der" })),
});

const SDKS = {
    standardwebhooks: standard(standardWebhooks.Webhook, "webhook"),
    svix: standard(svix.Webhook, "svix"),
    stripe: {
        sign: ({ key, body, time }) => ({
            "stripe-signature": stripe.webhooks.generateTestHeaderString({ payload: body, secret: key, timestamp: time }),
        }),
        verify: ({ key, body, headers }) =>
            stripe.webhooks.constructEvent(body, headers["stripe-signature"], key).object === "event",
    },
    octokit: {
        sign: async ({ key, body }) => ({ "x-hub-signature-256": await octokit.sign(key, body) }),
        verify: ({ key, body, headers }) => octokit.verify(key, body, headers["x-hub-signature-256"]),
    },
    // The packages of these two only verify.
    discord: {
        keys: () => keyPair(generateKeyPairSync("ed25519"), (der) => der.subarray(-32).toString("hex")),
        sign: ({ key, body, time }) => ({
            [DISCORD.time]: `${time}`,
            [DISCORD.signature]: signBytes(null, Buffer.from(`${time}${body}`), key).toString("hex"),
        }),
        verify: ({ key, body, headers }) => verifyKey(body, headers[DISCORD.signature], headers[DISCORD.time], key),
    },
    sendgrid: {
        keys: () => keyPair(generateKeyPairSync("ec", { namedCurve: "P-256" }), (der) => der.toString("base64")),
        sign: ({ key, body, time }) => ({
            [SENDGRID.time]: `${time}`,
            [SENDGRID.signature]: signBytes("sha256", Buffer.from(`${time}${body}`), key).toString("base64"),
        }),
        verify: ({ key, body, headers }) => {
            const verifier = new EventWebhook();
            const pem = `-----BEGIN PUBLIC KEY-----\n${key}\n-----END PUBLIC KEY-----`;
            const publicKey = verifier.convertPublicKeyToECDSA(pem);
            return verifier.verifySignature(publicKey, body, headers[SENDGRID.signature], headers[SENDGRID.time]);
        },
    },
};

/** What the verb returns; a package that refuses by throwing says false. */
const answer = async ({ sdk, verb, ...more }) => {
    const run = SDKS[sdk][verb];
    if (verb !== "verify") return run(more);
    try {
        return await run(more);
    } catch (error) {
        console.error(`${sdk}: ${error.message}`);
        return false;
    }
};

const server = createServer(async (request, response) => {
    try {
        const parts = await request.toArray();
        response.end(JSON.stringify(await answer(JSON.parse(Buffer.concat(parts)))));
    } catch (error) {
        console.error(error);
        response.writeHead(500).end();
    }
});
server.listen(0, "127.0.0.1", () => console.log(`listening address=127.0.0.1:${server.address().port}`));
process.on("SIGTERM", () => {
    server.close();
    server.closeAllConnections();
});
