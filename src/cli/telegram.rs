//! `sidelock telegram set-webhook` and `status`: the bot's side of a webhook.

use std::io::Write;
use std::path::Path;

use super::terminal::json_plain;
use super::{Failure, say, show, tally};
use crate::clock::{Clock, WallTime};
use crate::config::Config;
use crate::config::environment::Environment;
use crate::config::load::load;
use crate::telegram::address::{self, Reachability};
use crate::telegram::api::{self, ApiError, Certificate, Pending, Registered, WebhookInfo};
use crate::telegram::health::{Finding, Weight, explain, is_healthy, since};
use crate::telegram::{Bot, BotError};

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Opts {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Tell Telegram where to deliver and which secret to send, as [webhook.telegram] has it, and confirm it
    SetWebhook(SetWebhook),
    /// Say in words what Telegram knows of the webhook; exit with 1 if something is wrong
    Status(Status),
}

#[derive(Debug, clap::Args)]
struct SetWebhook {
    /// The name of the [[webhook]]; needed if several have a [webhook.telegram]
    #[arg(long, value_name = "NAME")]
    webhook: Option<String>,
    /// Throw away the updates that wait at Telegram, instead of having them delivered
    #[arg(long)]
    drop_pending_updates: bool,
}

#[derive(Debug, clap::Args)]
struct Status {
    /// The name of one [[webhook]]; without it, all that have a [webhook.telegram]
    #[arg(long, value_name = "NAME")]
    webhook: Option<String>,
    /// Print what is known as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, Opts { verb }: &Opts) -> Result<(), Failure> {
    let loading = load(path, &Environment::Process);
    let Some(loaded) = &loading.loaded else {
        show(&loading);
        return Err(Failure::Mistakes(format!("Telegram was not called: {}", tally(&loading))));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match verb {
        Verb::SetWebhook(opts) => {
            let mut bots = bots(&loaded.config, opts.webhook.as_deref())?;
            if bots.len() > 1 {
                let names: Vec<&str> = bots.iter().map(|bot| &*bot.webhook).collect();
                let names = names.join(", ");
                return Err(Failure::Failed(format!("say which one with --webhook: {names}")));
            }
            bots.pop().map_or(Ok(()), |bot| runtime.block_on(set(&bot, opts)))
        }
        Verb::Status(opts) => runtime.block_on(status(&bots(&loaded.config, opts.webhook.as_deref())?, opts)),
    }
}

/// At least one, or the reason why there is none.
fn bots(config: &Config, name: Option<&str>) -> Result<Vec<Bot>, Failure> {
    let named = config.webhooks.iter().filter(|webhook| name.is_none_or(|name| *webhook.name == *name));
    let now = Clock::system().wall();
    let bots = named.filter_map(|webhook| Bot::of(webhook, now)).collect::<Result<Vec<_>, BotError>>();
    let bots = bots.map_err(|error| Failure::Failed(error.to_string()))?;
    match (bots.is_empty(), name) {
        (false, _) => Ok(bots),
        (true, None) => Err(Failure::Failed(
            "no [[webhook]] has a [webhook.telegram] section; config/sidelock.toml shows one".to_owned(),
        )),
        (true, Some(name)) => {
            Err(Failure::Failed(format!("no webhook called '{name}' has a [webhook.telegram] section")))
        }
    }
}

async fn set(bot: &Bot, opts: &SetWebhook) -> Result<(), Failure> {
    match address::look(&bot.settings.public_url).await {
        Err(error) => return Err(Failure::Failed(error.to_string())),
        Ok(Reachability::Public(_)) => {}
        // A name may lead elsewhere for Telegram; an address does not.
        Ok(Reachability::Private(ip)) if *bot.settings.public_url.host == *ip.to_string() => {
            return Err(Failure::Failed(format!("Telegram cannot reach {ip}: it is not a public address")));
        }
        Ok(Reachability::Private(ip)) => {
            say(&format!(
                "warning: {} is {ip} here, which Telegram cannot reach",
                bot.settings.public_url.host
            ));
        }
        Ok(Reachability::Unresolved(why)) => {
            say(&format!("warning: {} cannot be resolved here ({why})", bot.settings.public_url.host));
        }
    }
    let pending = if opts.drop_pending_updates { Pending::Dropped } else { Pending::Kept };
    let failed = |error: ApiError| Failure::Failed(error.to_string());
    api::set_webhook(bot, pending).await.map_err(failed)?;
    let info = api::webhook_info(bot).await.map_err(failed)?;
    let mut out = std::io::stdout();
    writeln!(out, "The webhook '{}' is set at Telegram:", bot.webhook)?;
    writeln!(out, "  - with every delivery it sends the webhook's secret that ends last, or never")?;
    if pending == Pending::Dropped {
        writeln!(out, "  - updates that waited were thrown away")?;
    }
    let findings = explain(bot, &info, Clock::system().wall());
    for finding in &findings {
        writeln!(out, "  {}", line(finding))?;
    }
    if info.registered == Registered::Here {
        Ok(())
    } else {
        Err(Failure::Failed(
            "Telegram said yes, but its own account of the webhook says otherwise".to_owned(),
        ))
    }
}

async fn status(bots: &[Bot], opts: &Status) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let (mut told, mut trouble) = (Vec::new(), 0);
    for bot in bots {
        let asked = api::webhook_info(bot).await;
        let now = Clock::system().wall();
        let findings = match &asked {
            Ok(info) => explain(bot, info, now),
            Err(error) => vec![Finding { weight: Weight::Trouble, text: error.to_string() }],
        };
        trouble += usize::from(!is_healthy(&findings));
        if opts.json {
            told.push(as_json(bot, asked.as_ref().ok(), &findings, now));
        } else {
            let word = if is_healthy(&findings) { "healthy" } else { "in trouble" };
            writeln!(out, "{}: {word}", bot.webhook)?;
            for finding in &findings {
                writeln!(out, "  {}", line(finding))?;
            }
        }
    }
    if opts.json {
        let value = serde_json::json!({ "healthy": trouble == 0, "webhooks": told });
        writeln!(out, "{}", json_plain(&value.to_string()))?;
    }
    match trouble {
        0 => Ok(()),
        some => Err(Failure::Failed(format!("{some} of {} in trouble", bots.len()))),
    }
}

fn line(finding: &Finding) -> String {
    let mark = match finding.weight {
        Weight::Good => '-',
        Weight::Note => '*',
        Weight::Trouble => '!',
    };
    format!("{mark} {}", finding.text)
}

fn as_json(bot: &Bot, info: Option<&WebhookInfo>, findings: &[Finding], now: WallTime) -> serde_json::Value {
    let troubles = findings.iter().filter(|finding| finding.weight == Weight::Trouble);
    let moment =
        |at: WallTime| serde_json::json!({ "time": at.rfc3339(), "age_seconds": since(at, now).as_secs() });
    let telegram = info.map(|info| {
        let (registered, origin) = match &info.registered {
            Registered::Here => ("here", None),
            Registered::Elsewhere(origin) => ("elsewhere", Some(origin)),
            Registered::Nowhere => ("nowhere", None),
        };
        serde_json::json!({
            "registered": registered,
            "registered_at": origin,
            "pending_updates": info.pending_updates,
            "last_error": info.last_error.as_ref().map(|(at, message)| {
                let age = since(*at, now).as_secs();
                serde_json::json!({ "time": at.rfc3339(), "age_seconds": age, "message": message })
            }),
            "last_synchronization_error": info.last_synchronization_error.map(moment),
            "ip_address": info.ip_address,
            "max_connections": info.max_connections,
            "allowed_updates": info.allowed_updates,
            "custom_certificate": info.certificate == Certificate::Uploaded,
        })
    });
    serde_json::json!({
        "webhook": &*bot.webhook,
        "url": bot.masked(&bot.url),
        "healthy": is_healthy(findings),
        "trouble": troubles.map(|finding| finding.text.as_str()).collect::<Vec<_>>(),
        "telegram": telegram,
    })
}
