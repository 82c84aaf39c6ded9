"""Is everything well? Rates, errors, durations, and the gateway itself."""

from make import OWN, RECORDED, Panel, Row, dashboard

RATE = "[$__rate_interval]"
#: Answers to callers that are known; strangers are the business of the dashboard "Security".
KNOWN = f'{OWN},key!="unknown"'


def quantile(of, metric, by="le"):
    return f"histogram_quantile({of}, sum by ({by}) (rate({metric}_bucket{{{OWN}}}{RATE})))"


AT_A_GLANCE = [
    Row("At a glance"),
    Panel("Alerts", "Alerts of this job that fire now; the runbook says what each means.", "none",
          [('count(ALERTS{alertname=~"Sidelock.+",alertstate="firing"}) or vector(0)', "alerts")],
          "stat", 4, 4, [1, 5]),
    Panel("Success", "Share of the requests of known callers that were not answered 5xx. The objective is 99.5 %.", "percentunit",
          [(f'1 - (sum(rate(sidelock_requests_total{{{KNOWN},code_class="5xx"}}{RATE})) or vector(0)) / (sum(rate(sidelock_requests_total{{{KNOWN}}}{RATE})) > 0)', "success")],
          "stat", 4, 4, [0.995, 0.98], decimals=2),
    Panel("Requests", "Answered requests a second, strangers included.", "reqps",
          [(f"sum(rate(sidelock_requests_total{{{OWN}}}{RATE}))", "requests")], "stat", 4, 4, decimals=1),
    Panel("95 % are faster than", "From the request's head to the last byte of the answer, the CRM's time included.", "s",
          [(quantile(0.95, "sidelock_request_duration_seconds"), "p95")], "stat", 4, 4, [1, 5]),
    Panel("Keys in use", "Keys that are neither expired nor revoked.", "none",
          [(f'max(sidelock_keys{{{OWN},state="active"}})', "keys")], "stat", 4, 4),
    Panel("Files in force", "Whether what is in the configuration and the key file has been accepted by every gateway.", "none",
          [(f"min(sidelock_last_reload_successful{{{OWN}}})", "files")], "stat", 4, 4, [1, 0.5],
          mappings=[{"type": "value", "options": {"1": {"text": "yes", "color": "green"}, "0": {"text": "refused", "color": "red"}}}]),
]

REQUESTS = [
    Row("Requests"),
    Panel("Answers by class", "Answered requests a second by class of status. 4xx are mostly refusals.", "reqps",
          [(f"sum by (code_class) (rate(sidelock_requests_total{{{OWN}}}{RATE}))", "{{code_class}}")], stacked=True),
    Panel("Refusals by reason", "Requests a second that were refused or could not be answered, strangers included.", "reqps",
          [(f"sum by (reason) (rate(sidelock_denied_total{{{OWN}}}{RATE})) > 0", "{{reason}}")], stacked=True),
    Panel("Requests by route", "Answered requests a second by route; api is everything that needs a key.", "reqps",
          [(f"sum by (route) (rate(sidelock_requests_total{{{OWN}}}{RATE}))", "{{route}}")]),
    Panel("Errors against the objective", "Share of requests answered 5xx over an hour, six hours and three days. Above the line the errors allowed for a month (0.5 %) do not last a month.", "percentunit",
          [(f"job:sidelock_request_errors:ratio1h{{{RECORDED}}}", "1 h"), (f"job:sidelock_request_errors:ratio6h{{{RECORDED}}}", "6 h"),
           (f"job:sidelock_request_errors:ratio3d{{{RECORDED}}}", "3 d"), ("vector(0.005)", "objective")]),
]

TIME = [
    Row("Time"),
    Panel("Durations", "From the request's head to the last byte of the answer.", "s",
          [(quantile(share, "sidelock_request_duration_seconds"), name) for share, name in ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))]),
    Panel("Is it the CRM or the gateway?", "95 % of requests: the CRM's time to its response head, and the gateway's own share until then.", "s",
          [(quantile(0.95, "sidelock_upstream_duration_seconds"), "CRM"), (quantile(0.95, "sidelock_overhead_seconds"), "gateway")]),
    Panel("Durations by route", "95 % of requests are faster.", "s",
          [(quantile(0.95, "sidelock_request_duration_seconds", "le, route"), "{{route}}")]),
    Panel("Seconds to end a revoked key", "From the edit of the key file to the end of each connection that carried the key; 99 % are faster. Empty while none was cut.", "s",
          [(quantile(0.99, "sidelock_revocation_seconds"), "99 %")]),
]

GATEWAY = [
    Row("The gateway"),
    Panel("Under way", "Requests between head and last byte, and open connections of clients, with those of them that wait for a request.", "none",
          [(f"sum by (instance) (sidelock_in_flight{{{OWN}}})", "requests, {{instance}}"), (f"sum by (instance) (sidelock_connections{{{OWN}}})", "connections, {{instance}}"), (f"sum by (instance) (sidelock_idle_connections{{{OWN}}})", "of them idle, {{instance}}")]),
    Panel("Connections to the CRM", "Those that carry a request, and those that wait for one.", "none",
          [(f"sum by (state) (sidelock_upstream_connections{{{OWN}}})", "{{state}}")]),
    Panel("Addresses of the CRM in use", "1 while requests go to an address, 0 while it is left out. Where all are 0 the CRM is down.", "none",
          [(f"min by (upstream) (sidelock_upstream_up{{{OWN}}})", "{{upstream}}")]),
    Panel("Addresses that failed", "Times that an address of the CRM was left out, and requests that went to another one, a second.", "cps",
          [(f"sum by (upstream) (rate(sidelock_upstream_ejections_total{{{OWN}}}{RATE}))", "out, {{upstream}}"), (f"sum by (upstream) (rate(sidelock_upstream_retries_total{{{OWN}}}{RATE}))", "elsewhere, {{upstream}}")]),
    Panel("Turned away and lost", "Connections refused because of a limit, and lines of the access log that could not be written, a second. Both should be zero.", "cps",
          [(f"sum(rate(sidelock_connections_shed_total{{{OWN}}}{RATE}))", "connections turned away"), (f"sum(rate(sidelock_log_lines_dropped_total{{{OWN}}}{RATE}))", "log lines lost")]),
    Panel("Reloads", "Reloads of files in each step, by result.", "none",
          [(f"sum by (result) (increase(sidelock_reloads_total{{{OWN}}}{RATE}))", "{{result}}")]),
    Panel("Memory", "Resident memory.", "bytes", [(f"process_resident_memory_bytes{{{OWN}}}", "{{instance}}")], width=8),
    Panel("Processor", "Processors in use.", "none", [(f"rate(process_cpu_seconds_total{{{OWN}}}{RATE})", "{{instance}}")], width=8),
    Panel("File descriptors", "Share of those that the process may open.", "percentunit",
          [(f"process_open_fds{{{OWN}}} / process_max_fds{{{OWN}}}", "{{instance}}")], width=8),
    Panel("Versions", "Gateways by version.", "none", [(f"count by (version) (sidelock_build_info{{{OWN}}})", "{{version}}")], "stat", 12, 4),
    Panel("Up since", "When each gateway was started.", "dateTimeFromNow", [(f"process_start_time_seconds{{{OWN}}} * 1000", "{{instance}}")], "stat", 12, 4),
]

DASHBOARD = dashboard("sidelock-overview", "Sidelock: Overview", "Is everything well?", AT_A_GLANCE + REQUESTS + TIME + GATEWAY)
