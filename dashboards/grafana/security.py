"""Does somebody try to get in, or use what is not theirs?"""

from make import OWN, RECORDED, Panel, Row, dashboard, titled

RATE = "[$__rate_interval]"
REFUSED = 'result=~"webhook_.+|too_many_failures",result!="webhook_under_way"'
NAME = "{{title}} ({{key}})"

AT_A_GLANCE = [
    Row("At a glance"),
    Panel("Refused credentials, 24 h", "Missing, wrong, expired and revoked keys, and webhook secrets that were not believed.", "none",
          [(f"sum(increase(sidelock_auth_failures_total{{{OWN}}}[24h]))", "refused")], "stat", 5, 4, decimals=0),
    Panel("Worst address", "Refused credentials from one address within five minutes; an alert fires from 30 on.", "none",
          [(f"max(sidelock_auth_failure_worst_source{{{OWN}}})", "refused")], "stat", 5, 4, [15, 30]),
    Panel("Addresses that try", "Addresses with a refused credential within five minutes.", "none",
          [(f"sum(sidelock_auth_failure_recent_sources{{{OWN}}})", "addresses")], "stat", 5, 4, [25, 50]),
    Panel("Banned addresses", "Addresses that may not use keys for a while.", "none",
          [(f"max(sidelock_banned_addresses{{{OWN}}})", "addresses")], "stat", 4, 4, [10, 50]),
    Panel("Decoys touched, 24 h", "Uses of keys that nobody has a reason to use.", "none",
          [(f'sum(increase(sidelock_denied_total{{{OWN},reason="decoy"}}[24h])) or vector(0)', "touched")], "stat", 5, 4, [0.5, 1], decimals=0),
    Panel("Alerts", "Alerts that fire now, or are about to; dashboards/runbook.md says what each means.", "none",
          [('max by (alertname, severity, alertstate, key, webhook) (ALERTS{alertname=~"Sidelock.+"})', "alerts")], "table", 24, 7,
          transformations=[{"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True}}}]),
]

STRANGERS = [
    Row("Strangers"),
    Panel("Refused credentials by reason", "A second, by reason.", "reqps",
          [(f"sum by (reason) (rate(sidelock_auth_failures_total{{{OWN}}}{RATE})) > 0", "{{reason}}")], stacked=True),
    Panel("Five minutes against the last day", "Refused credentials in five minutes, and their average of the last day; an alert fires from 60 and five times the average on.", "none",
          [(f"job:sidelock_auth_failures:increase5m{{{RECORDED}}}", "now"), (f"job:sidelock_auth_failures:increase5m_avg1d{{{RECORDED}}}", "average of the last day")]),
    Panel("Worst address", "The highest number of refused credentials from one address (IPv6: one /64) in the current five minutes.", "none",
          [(f"max by (instance) (sidelock_auth_failure_worst_source{{{OWN}}})", "{{instance}}")], width=8),
    Panel("Addresses that try", "Addresses with a refused credential in the current five minutes, and those that are remembered.", "none",
          [(f"sum(sidelock_auth_failure_recent_sources{{{OWN}}})", "in five minutes"), (f"sum(sidelock_auth_failure_sources{{{OWN}}})", "remembered")], width=8),
    Panel("Bans", "Bans of addresses in each step.", "none", [(f"sum(increase(sidelock_bans_total{{{OWN}}}{RATE}))", "bans")], width=8),
    Panel("Worst addresses by name", "Refused credentials of the ten addresses with the most. Empty unless addresses may be labels.", "none",
          [(f"topk(10, max by (address) (sidelock_auth_failures_by_address{{{OWN}}}))", "{{address}}")], "bargauge", 12, 8),
    Panel("Strangers refused", "Requests of strangers that were refused, a second, by reason; not all are about credentials.", "reqps",
          [(f'sum by (reason) (rate(sidelock_denied_total{{{OWN},key="unknown"}}{RATE})) > 0', "{{reason}}")], stacked=True),
]

KEYS = [
    Row("Keys in wrong hands"),
    Panel("Beyond their scopes", "Requests a second that the key's scopes do not cover, by key.", "reqps",
          [(titled(f'sum by (key) (rate(sidelock_denied_total{{{OWN},reason=~"scope|scope_never|scope_unread",key!~"unknown|none"}}{RATE})) > 0'), NAME)]),
    Panel("From a wrong address", "Requests a second with the right key from outside its list of addresses.", "reqps",
          [(titled(f'sum by (key) (rate(sidelock_denied_total{{{OWN},reason="address",key!~"unknown|none"}}{RATE})) > 0'), NAME)]),
    Panel("Ended keys still used", "Requests a second with expired or revoked keys.", "reqps",
          [(titled(f'sum by (key, reason) (rate(sidelock_denied_total{{{OWN},reason=~"expired|revoked",key!~"unknown|none"}}{RATE})) > 0'), "{{title}} ({{key}}): {{reason}}")]),
    Panel("Over their rate", "Requests a second that were refused because the key's rate was used up.", "reqps",
          [(titled(f'sum by (key) (rate(sidelock_denied_total{{{OWN},reason="rate",key!~"unknown|none"}}{RATE})) > 0'), NAME)]),
    Panel("Only observed", "Requests a second that passed only because their key is in observe mode.", "reqps",
          [(titled(f"sum by (key, reason) (rate(sidelock_observed_total{{{OWN}}}{RATE})) > 0"), "{{title}} ({{key}}): {{reason}}")]),
    Panel("Decoys", "Uses of decoy keys in each step.", "none",
          [(titled(f'sum by (key) (increase(sidelock_denied_total{{{OWN},reason="decoy"}}{RATE}))'), NAME)]),
]

WEBHOOKS = [
    Row("Webhooks and bots"),
    Panel("Deliveries by result", "Deliveries a second by webhook and result.", "reqps",
          [(f"sum by (webhook, result) (rate(sidelock_webhook_deliveries_total{{{OWN}}}{RATE})) > 0", "{{webhook}}: {{result}}")], stacked=True),
    Panel("Deliveries not believed", "Deliveries a second that did not prove that they come from the sender.", "reqps",
          [(f"sum by (webhook, result) (rate(sidelock_webhook_deliveries_total{{{OWN},{REFUSED}}}{RATE})) > 0", "{{webhook}}: {{result}}")]),
    Panel("The CRM does not take", "Share of genuine deliveries that the CRM failed to take in a quarter of an hour; an alert fires from 20 % on.", "percentunit",
          [(f"webhook:sidelock_webhook_deliveries_failed:increase15m{{{RECORDED}}} / (webhook:sidelock_webhook_deliveries_tried:increase15m{{{RECORDED}}} > 0)", "{{webhook}}")], width=8),
    Panel("Last delivery taken", "When the CRM last took a delivery.", "dateTimeFromNow",
          [(f"max by (webhook) (sidelock_webhook_last_success_timestamp_seconds{{{OWN}}} > 0) * 1000", "{{webhook}}")], "stat", 8, 8),
    Panel("Deliveries by secret", "Proved deliveries a second by which of the webhook's secrets proved them, 1 being the first in the configuration.", "reqps",
          [(f"sum by (webhook, secret) (rate(sidelock_webhook_secret_uses_total{{{OWN}}}{RATE}))", "{{webhook}}: secret {{secret}}")], width=8),
    Panel("Senders and hours", "Messages a second by whether their sender and the time of day were expected.", "reqps",
          [(f"sum by (webhook, sender, hours) (rate(sidelock_webhook_senders_total{{{OWN}}}{RATE}))", "{{webhook}}: {{sender}}, {{hours}} hours")], stacked=True),
    Panel("Waiting at Telegram", "Updates that Telegram has not delivered yet.", "none",
          [(f"max by (webhook) (sidelock_webhook_telegram_pending_updates{{{OWN}}})", "{{webhook}}")]),
    Panel("Telegram delivers here", "Whether Telegram delivers to the configured address.", "none",
          [(f"max by (webhook) (sidelock_webhook_telegram_registered{{{OWN}}})", "{{webhook}}")], "stat", 8, 6, [1, 0.5],
          mappings=[{"type": "value", "options": {"1": {"text": "yes", "color": "green"}, "0": {"text": "elsewhere or nowhere", "color": "red"}}}]),
    Panel("Telegram's last error", "When a delivery from Telegram last failed.", "dateTimeFromNow",
          [(f"max by (webhook) (sidelock_webhook_telegram_last_error_timestamp_seconds{{{OWN}}} > 0) * 1000", "{{webhook}}")], "stat", 8, 6),
    Panel("Set anew, and not looked at", "How often a bot's webhook had to be set anew, and how often Telegram could not be asked, in each step.", "none",
          [(f"sum by (webhook) (increase(sidelock_webhook_telegram_reasserted_total{{{OWN}}}{RATE}))", "{{webhook}}: set anew"),
           (f"sum by (webhook) (increase(sidelock_webhook_telegram_watch_failures_total{{{OWN}}}{RATE}))", "{{webhook}}: not answered")], width=8, height=6),
    Panel("Secrets were last used", "When each secret of a webhook last proved a delivery; a rotated one should fall silent.", "dateTimeFromNow",
          [(f"max by (webhook, secret) (sidelock_webhook_secret_last_used_timestamp_seconds{{{OWN}}} > 0) * 1000", "{{webhook}}: secret {{secret}}")], "stat", 24, 5),
]

DASHBOARD = dashboard("sidelock-security", "Sidelock: Security", "Does somebody try to get in?", AT_A_GLANCE + STRANGERS + KEYS + WEBHOOKS)
