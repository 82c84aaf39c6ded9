"""Who uses which key, is that usual, and what has to be done about keys soon?"""

from make import KEY, OWN, RECORDED, Panel, Row, dashboard, titled

RATE = "[$__rate_interval]"
CHOSEN = f'{OWN},key=~"$key"'
USUAL = f'{RECORDED},key=~"$key"'
NAME = "{{title}} ({{key}})"


def column(name, unit, **custom):
    properties = [{"id": "unit", "value": unit}, *({"id": f"custom.{key}", "value": value} for key, value in custom.items())]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


#: The columns of the table: query and heading and unit.
COLUMNS = [
    (titled(f"max by (key) (sidelock_key_live{{{CHOSEN}}})"), "in use", "bool_yes_no"),
    (f"sum by (key) (increase(sidelock_requests_total{{{CHOSEN}}}[24h]))", "requests, 24 h", "short"),
    (f"sum by (key) (increase(sidelock_denied_total{{{CHOSEN}}}[24h]))", "refused, 24 h", "short"),
    (f"max by (key) (sidelock_key_last_used_timestamp_seconds{{{CHOSEN}}}) * 1000", "last used", "dateTimeFromNow"),
    (f"max by (key) (sidelock_key_expires_timestamp_seconds{{{CHOSEN}}} > 0) * 1000", "expires", "dateTimeFromNow"),
    (f"time() - max by (key) (sidelock_key_secret_created_timestamp_seconds{{{CHOSEN}}})", "age of secret", "s"),
    (f"max by (key) (sidelock_key_networks{{{CHOSEN}}})", "networks", "short"),
]
HEADINGS = {f"Value #{chr(ord('A') + at)}": heading for at, (_, heading, _) in enumerate(COLUMNS)}

TABLE = [
    Panel("Keys", "Every key with a label of its own; click a heading to sort.", "short",
          [(query, heading) for query, heading, _ in COLUMNS], "table", 24, 12,
          overrides=[column(heading, unit) for _, heading, unit in COLUMNS],
          transformations=[
              {"id": "merge", "options": {}},
              {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": HEADINGS | {"key": "id"}}},
          ]),
]

USE = [
    Row("Use"),
    Panel("Requests by key", "Answered requests a second, the twenty busiest keys.", "reqps",
          [(titled(f"topk(20, sum by (key) (rate(sidelock_requests_total{{{CHOSEN}}}{RATE})))"), NAME)]),
    Panel("Now and usually", "Requests a second over five minutes, and the median of the same hour in the past three weeks. Choose one key. Empty for usually until a key has been there for two weeks.", "reqps",
          [(titled(f"key:sidelock_requests:rate5m{{{USUAL}}}"), f"now: {NAME}"), (titled(f"key:sidelock_requests:rate5m_usual{{{USUAL}}}"), f"usually: {NAME}")]),
    Panel("Times the usual", "How many times more than usual at this hour a key is used; an alert fires from 3 on. Empty until a key has been there for two weeks.", "none",
          [(titled(f"key:sidelock_requests:rate5m{{{USUAL}}} / (key:sidelock_requests:rate5m_usual{{{USUAL}}} > 0)"), NAME)]),
    Panel("Spreads above the last day", "How many standard deviations a key is above its average of the last day; for keys without a past of weeks an alert fires from 6 on.", "none",
          [(titled(f"(key:sidelock_requests:rate5m{{{USUAL}}} - key:sidelock_requests:rate5m_avg1d{{{USUAL}}}) / clamp_min(key:sidelock_requests:rate5m_stddev1d{{{USUAL}}}, 0.05)"), NAME)]),
    Panel("Refusals by key", "Requests a second that were refused though the key is known.", "reqps",
          [(titled(f'sum by (key, reason) (rate(sidelock_denied_total{{{CHOSEN},key!~"unknown|none"}}{RATE})) > 0'), "{{title}} ({{key}}): {{reason}}")]),
    Panel("Without a key of their own", "Requests a second of strangers (unknown), of routes and webhooks that need no key (none), and of keys beyond key_labels (other).", "reqps",
          [(f'sum by (key) (rate(sidelock_requests_total{{{OWN},key=~"unknown|none|other"}}{RATE}))', "{{key}}")]),
    Panel("Networks by key", "Networks (IPv4 /24, IPv6 /48) that a key was used from.", "none",
          [(titled(f"max by (key) (sidelock_key_networks{{{CHOSEN}}})"), NAME)]),
    Panel("New networks", "Networks from which a key was used for the first time, in each step.", "none",
          [(titled(f"sum by (key) (increase(sidelock_key_new_networks_total{{{CHOSEN}}}{RATE})) > 0"), NAME)]),
]

LIFE = [
    Row("Life"),
    Panel("Keys by state", "Keys in the file.", "none", [(f"max by (state) (sidelock_keys{{{OWN}}})", "{{state}}")], "stat", 6, 8),
    Panel("Expire next", "Time that keys in use have left, the ten shortest.", "s",
          [(titled(f"bottomk(10, max by (key) (sidelock_key_expires_timestamp_seconds{{{CHOSEN}}} > 0) - time() > 0)"), NAME)], "bargauge", 9, 8, [1209600, 259200]),
    Panel("Oldest secrets", "Age of the present secret of keys in use, the ten oldest; rotate after 90 days.", "s",
          [(titled(f"topk(10, (time() - max by (key) (sidelock_key_secret_created_timestamp_seconds{{{CHOSEN}}})) and on (key) sidelock_key_live{{{OWN}}} == 1)"), NAME)], "bargauge", 9, 8, [6480000, 7776000]),
    Panel("Longest unused", "Time since keys in use were last used, the ten longest.", "s",
          [(titled(f"topk(10, (time() - max by (key) (sidelock_key_last_used_timestamp_seconds{{{CHOSEN}}})) and on (key) sidelock_key_live{{{OWN}}} == 1)"), NAME)], "bargauge", 12, 8, [1209600, 2592000]),
    Panel("Old secrets still used", "Uses a second of secrets that a rotation replaced. Empty while no key has two.", "reqps",
          [(titled(f"sum by (key) (rate(sidelock_key_previous_uses_total{{{CHOSEN}}}{RATE}))"), NAME)]),
    Panel("Old secrets end", "When the secret that a rotation replaced stops working.", "dateTimeFromNow",
          [(titled(f"max by (key) (sidelock_key_previous_ends_timestamp_seconds{{{CHOSEN}}}) * 1000"), NAME)], "stat", 12, 6),
    Panel("Old secrets were last used", "When the secret that a rotation replaced was last used.", "dateTimeFromNow",
          [(titled(f"max by (key) (sidelock_key_previous_last_used_timestamp_seconds{{{CHOSEN}}}) * 1000"), NAME)], "stat", 12, 6),
    Panel("Age of keys", "When keys were made.", "dateTimeFromNow",
          [(titled(f"bottomk(10, max by (key) (sidelock_key_created_timestamp_seconds{{{CHOSEN}}})) * 1000"), NAME)], "stat", 24, 6),
]

DASHBOARD = dashboard("sidelock-keys", "Sidelock: Keys", "Who uses which key, and is that usual?", TABLE + USE + LIFE, KEY)
