//! The running process's look at each bot's webhook: tells in metrics how it fares, and sets it anew when somebody else
//! (Chatwoot and Zammad do, at every edit of their channel) took it or set it without the secret.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::Bot;
use super::api::{self, ApiError, Pending, Registered, WebhookInfo};
use super::health::{RECENT, since};
use crate::clock::{Clock, Moment, Now, WallTime};
use crate::config;
use crate::config::telegram::Drift;
use crate::metrics::{BotStats, Metrics};

/// Least time between two times that one webhook is set anew, whatever the reason.
const LEAST_WAIT: Duration = Duration::from_secs(60);
/// The wait doubles up to this: two that both insist must not call Telegram for ever.
const MOST_WAIT: Duration = Duration::from_secs(15 * 60);

/// What Telegram's words for a refused secret hold: 429 is what many of them get.
const REFUSALS: [&str; 2] = ["401", "429"];

/// All bots that are watched. Reloads change them while it runs.
#[derive(Debug)]
pub struct Watch {
    posts: watch::Sender<Arc<[Arc<Post>]>>,
    /// Another process watches.
    is_retired: AtomicBool,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// One bot that is watched.
#[derive(Debug)]
struct Post {
    bot: Bot,
    every: Duration,
    drift: Drift,
    stats: Arc<BotStats>,
    /// Deliveries came without a secret.
    bell: Notify,
    /// Outlives changes of the bot's settings: reloads must not hurry it.
    pace: Arc<Mutex<Pace>>,
    /// The last look failed, and that was said.
    is_blind: AtomicBool,
    /// Telegram was told another secret than the one that is in force since a reload.
    is_stale: AtomicBool,
}

/// Why a webhook is set anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Telegram delivers elsewhere or nowhere.
    Url,
    /// Deliveries come without a secret. Strangers can make it look so, but only until Telegram was called once or twice.
    NoSecret,
    /// Another secret is in force.
    NewSecret,
    /// Telegram says that its deliveries are refused.
    Refused,
}

impl Watch {
    /// Watches nobody yet.
    pub fn new(metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self { posts: watch::Sender::new(Arc::from([])), is_retired: AtomicBool::new(false), metrics, clock }
    }

    /// From now on watches the bots of `webhooks` that ask for it, and no others.
    pub fn follow(&self, webhooks: &[config::Webhook]) {
        if self.is_retired.load(Ordering::Relaxed) {
            return;
        }
        let before = Arc::clone(&self.posts.borrow());
        let posts: Arc<[Arc<Post>]> =
            webhooks.iter().filter_map(|webhook| self.post(webhook, &before)).collect();
        self.metrics.retain_bots(|name| posts.iter().any(|post| *post.bot.webhook == *name));
        self.posts.send_replace(posts);
    }

    /// From now on watches nobody: two processes must not both set webhooks anew.
    pub fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
        self.posts.send_replace(Arc::from([]));
    }

    fn post(&self, webhook: &config::Webhook, before: &[Arc<Post>]) -> Option<Arc<Post>> {
        let watch = webhook.telegram.as_ref()?.watch?;
        let bot = match Bot::of(webhook, self.clock.wall())? {
            Ok(bot) => bot,
            Err(error) => {
                tracing::error!(%error, "this webhook is not watched at Telegram");
                return None;
            }
        };
        let old = before.iter().find(|post| post.bot.webhook == bot.webhook);
        if let Some(same) = old.filter(|post| post.bot == bot) {
            return Some(Arc::clone(same));
        }
        let another_secret = |post: &&Arc<Post>| !post.bot.has_secret_of(&bot);
        let is_stale = old.is_some_and(|post| post.is_stale.load(Ordering::Relaxed))
            || old.filter(another_secret).is_some();
        Some(Arc::new(Post {
            every: watch.every,
            drift: watch.drift,
            stats: self.metrics.bot(&bot.webhook),
            bell: Notify::new(),
            pace: old.map(|post| Arc::clone(&post.pace)).unwrap_or_default(),
            is_blind: AtomicBool::new(false),
            is_stale: AtomicBool::new(is_stale),
            bot,
        }))
    }

    /// A delivery to the webhook called `name` came without any secret. If it is watched, and set anew where need be, it is
    /// looked at now. Cheap, and may be called as often as such deliveries come.
    pub fn secret_missing(&self, name: &str) {
        if let Some(post) = self.posts.borrow().iter().find(|post| *post.bot.webhook == *name) {
            post.bell.notify_one();
        }
    }
}

#[async_trait]
impl BackgroundService for Watch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut wanted = self.posts.subscribe();
        // Dropped with this future, and every look with it.
        let mut looks = JoinSet::new();
        let mut running: HashMap<Arc<str>, (Arc<Post>, AbortHandle)> = HashMap::new();
        loop {
            let posts = Arc::clone(&wanted.borrow_and_update());
            running.retain(|_, (post, look)| {
                let stays = posts.iter().any(|wanted| Arc::ptr_eq(wanted, post));
                if !stays {
                    look.abort();
                }
                stays
            });
            for post in posts.iter() {
                running.entry(Arc::clone(&post.bot.webhook)).or_insert_with(|| {
                    let look = Arc::clone(post).look_on(self.clock.clone());
                    (Arc::clone(post), looks.spawn(look))
                });
            }
            while looks.try_join_next().is_some() {}
            tokio::select! {
                _ = shutdown.changed() => return,
                changed = wanted.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl Post {
    async fn look_on(self: Arc<Self>, clock: Clock) {
        let mut due = tokio::time::interval(self.every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let rung = tokio::select! {
                _ = due.tick() => None,
                () = self.bell.notified() => Some(Why::NoSecret),
            };
            if let Err(error) = self.look(rung, &clock).await {
                self.stats.watch_failures.inc();
                // Said once, until it succeeds again.
                if !self.is_blind.swap(true, Ordering::Relaxed) {
                    tracing::warn!(webhook = %self.bot.webhook, %error, "cannot look after the webhook at Telegram");
                }
            } else if self.is_blind.swap(false, Ordering::Relaxed) {
                tracing::info!(webhook = %self.bot.webhook, "the webhook at Telegram can be looked after again");
            }
        }
    }

    async fn look(&self, rung: Option<Why>, clock: &Clock) -> Result<(), ApiError> {
        let info = api::webhook_info(&self.bot).await?;
        self.tell(&info);
        let Some(why) = self.why(&info, clock).or(rung).filter(|_| self.drift == Drift::Reassert) else {
            return Ok(());
        };
        if !self.pace.lock().take(why, clock.now()) {
            return Ok(());
        }
        api::set_webhook(&self.bot, Pending::Kept).await?;
        self.is_stale.store(false, Ordering::Relaxed);
        self.stats.reasserted.inc();
        tracing::warn!(webhook = %self.bot.webhook, "{}; the bot's webhook is set anew", why.words());
        self.tell(&api::webhook_info(&self.bot).await?);
        Ok(())
    }

    /// Why it should be set anew, as far as Telegram and the configuration tell.
    fn why(&self, info: &WebhookInfo, clock: &Clock) -> Option<Why> {
        if info.registered != Registered::Here {
            return Some(Why::Url);
        }
        if self.is_stale.load(Ordering::Relaxed) {
            return Some(Why::NewSecret);
        }
        let (failed, message) = info.last_error.as_ref()?;
        // An error of before the last time says nothing of what was set then.
        let is_fresh = self.pace.lock().set_at.is_none_or(|set| set.unix_secs() < failed.unix_secs());
        let is_going_on = since(*failed, clock.wall()) <= RECENT;
        let is_refusal = REFUSALS.iter().any(|status| message.contains(status));
        (is_fresh && is_going_on && is_refusal).then_some(Why::Refused)
    }

    fn tell(&self, info: &WebhookInfo) {
        let stats = self.stats.told();
        stats.registered.set(i64::from(info.registered == Registered::Here));
        stats.pending_updates.set(i64::try_from(info.pending_updates).unwrap_or(i64::MAX));
        stats.last_error.set(info.last_error.as_ref().map_or(0, |(at, _)| at.unix_secs()));
    }
}

/// How often a webhook may be set anew: at most once a minute, and ever more seldom while it is needed again and again. Each
/// reason waits for itself, so that strangers who send no secret do not delay what a wrong URL needs.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Moment>,
    set_at: Option<WallTime>,
    url: Backoff,
    secret: Backoff,
}

#[derive(Debug, Default)]
struct Backoff {
    last: Option<Moment>,
    wait: Duration,
}

impl Why {
    const fn words(self) -> &'static str {
        match self {
            Self::Url => "Telegram delivered elsewhere or nowhere",
            Self::NoSecret => "deliveries came without a secret",
            Self::NewSecret => "another secret is in force",
            Self::Refused => "deliveries of Telegram's were refused",
        }
    }
}

impl Pace {
    /// True if it may be done now; then it counts as done.
    fn take(&mut self, why: Why, Now { monotonic: now, wall }: Now) -> bool {
        if self.last.is_some_and(|last| now.since(last) < LEAST_WAIT) {
            return false;
        }
        let backoff = match why {
            Why::Url => &mut self.url,
            Why::NoSecret | Why::Refused => &mut self.secret,
            // Somebody's doing, and no more often than that.
            Why::NewSecret => &mut Backoff::default(),
        };
        let taken = backoff.take(now);
        if taken {
            self.last = Some(now);
            self.set_at = Some(wall);
        }
        taken
    }
}

impl Backoff {
    fn take(&mut self, now: Moment) -> bool {
        let quiet = self.last.map(|last| now.since(last));
        if quiet.is_some_and(|quiet| quiet < self.wait) {
            return false;
        }
        // Not needed for twice as long as it had to wait: that trouble is over, and this is another one.
        let again = quiet.is_some_and(|quiet| quiet <= self.wait * 2);
        self.wait = if again { (self.wait * 2).min(MOST_WAIT) } else { LEAST_WAIT };
        self.last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Now {
        let wall = WallTime::from_unix_secs(i64::try_from(secs).unwrap());
        Now { monotonic: Moment::from_nanos(secs * 1_000_000_000), wall }
    }

    /// The seconds at which it is done, if it is needed at every second.
    fn done(pace: &mut Pace, why: Why, until: u64) -> Vec<u64> {
        (0..until).filter(|second| pace.take(why, at(*second))).collect()
    }

    #[test]
    fn at_most_once_a_minute_and_ever_more_seldom() {
        let mut pace = Pace::default();
        assert_eq!(done(&mut pace, Why::Url, 4_000), [0, 60, 180, 420, 900, 1_800, 2_700, 3_600]);
        assert!(!pace.take(Why::Url, at(4_000)));
        let quiet = 3_600 + 2 * 900 + 1;
        assert!(pace.take(Why::Url, at(quiet)), "a new trouble");
        assert!(!pace.take(Why::Url, at(quiet + 59)));
        assert!(pace.take(Why::Url, at(quiet + 60)), "starts anew");
    }

    #[test]
    fn strangers_do_not_delay_a_wrong_url() {
        let mut pace = Pace::default();
        let last = done(&mut pace, Why::NoSecret, 2_000).pop().unwrap();
        assert_eq!(last, 1_800);
        assert!(!pace.take(Why::NoSecret, at(2_001)));
        assert!(pace.take(Why::Url, at(2_001)));
        assert!(!pace.take(Why::Url, at(2_060)), "whatever the reason, not twice in a minute");
    }
}
