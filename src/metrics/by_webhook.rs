//! Series with a webhook label that need more than a route's: the bot at Telegram, and whose updates came. They leave with
//! the webhook.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::catalogue::{self, Family};
use crate::credential::webhook::SecretPrint;
use crate::outcome::{DeliveryStats, SenderStats};

/// The families.
pub(super) struct ByWebhook {
    pending_updates: IntGaugeVec,
    last_error: IntGaugeVec,
    registered: IntGaugeVec,
    watch_failures: IntCounterVec,
    reasserted: IntCounterVec,
    senders: IntCounterVec,
    new_senders: IntCounterVec,
    secret_uses: IntCounterVec,
    secret_last_use: IntGaugeVec,
    last_success: IntGaugeVec,
    /// Every webhook, with its secrets in their order.
    webhooks: DashMap<Arc<str>, Vec<SecretPrint>>,
    bots: DashMap<Arc<str>, Arc<BotStats>>,
    judged: DashMap<Arc<str>, Arc<SenderStats>>,
}

/// What the watch found out about one bot.
#[derive(Debug)]
pub struct BotStats {
    /// Looks that failed.
    pub watch_failures: IntCounter,
    /// Times that the webhook was set anew.
    pub reasserted: IntCounter,
    told: OnceLock<Told>,
    families: [IntGaugeVec; 3],
    webhook: Arc<str>,
}

/// What Telegram told. There are no series before it told anything: a zero would say that it delivers elsewhere.
#[derive(Debug)]
pub struct Told {
    /// Updates that wait at Telegram.
    pub pending_updates: IntGauge,
    /// When a delivery last failed, in seconds since 1970; 0 for never.
    pub last_error: IntGauge,
    /// 1 if Telegram delivers to the configured URL.
    pub registered: IntGauge,
}

impl BotStats {
    /// The series, made at the first call.
    pub fn told(&self) -> &Told {
        self.told.get_or_init(|| {
            let [pending_updates, last_error, registered] =
                self.families.each_ref().map(|family| family.with_label_values(&[&*self.webhook]));
            Told { pending_updates, last_error, registered }
        })
    }
}

impl ByWebhook {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let gauge = |of: &Family| IntGaugeVec::new(Opts::new(of.short(), of.help), of.labels);
        let counter = super::counter_vec;
        Ok(Self {
            pending_updates: gauge(&catalogue::PENDING)?,
            last_error: gauge(&catalogue::LAST_ERROR)?,
            registered: gauge(&catalogue::REGISTERED)?,
            watch_failures: counter(&catalogue::WATCH_FAILURES)?,
            reasserted: counter(&catalogue::REASSERTED)?,
            senders: counter(&catalogue::SENDERS)?,
            new_senders: counter(&catalogue::NEW_SENDERS)?,
            secret_uses: counter(&catalogue::SECRET_USES)?,
            secret_last_use: gauge(&catalogue::SECRET_LAST_USE)?,
            last_success: gauge(&catalogue::LAST_SUCCESS)?,
            webhooks: DashMap::new(),
            bots: DashMap::new(),
            judged: DashMap::new(),
        })
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let own: [Box<dyn Collector>; 10] = [
            Box::new(self.pending_updates.clone()),
            Box::new(self.last_error.clone()),
            Box::new(self.registered.clone()),
            Box::new(self.watch_failures.clone()),
            Box::new(self.reasserted.clone()),
            Box::new(self.senders.clone()),
            Box::new(self.new_senders.clone()),
            Box::new(self.secret_uses.clone()),
            Box::new(self.secret_last_use.clone()),
            Box::new(self.last_success.clone()),
        ];
        own.into_iter().try_for_each(|collector| registry.register(collector))
    }

    /// The record of the webhook's deliveries. A series is that of a place in the list, its figures are the secret's: one
    /// that moves takes them along.
    pub(super) fn deliveries(
        &self,
        webhook: &str,
        secrets: &[SecretPrint],
        accepted: IntCounter,
    ) -> DeliveryStats {
        let before = self.webhooks.insert(webhook.into(), secrets.to_vec()).unwrap_or_default();
        if before != secrets {
            let figures: HashMap<SecretPrint, (u64, i64)> = before
                .iter()
                .enumerate()
                .map(|(index, print)| (*print, self.figures(webhook, index)))
                .collect();
            self.forget_secrets(webhook, before.len());
            for (index, print) in secrets.iter().enumerate() {
                let (uses, last_use) = figures.get(print).copied().unwrap_or_default();
                let (counter, gauge) = self.secret(webhook, index);
                counter.inc_by(uses);
                gauge.set(last_use);
            }
        }
        let secrets = (0..secrets.len()).map(|index| self.secret(webhook, index)).collect();
        DeliveryStats::new(accepted, self.last_success.with_label_values(&[webhook]), secrets)
    }

    fn secret(&self, webhook: &str, index: usize) -> (IntCounter, IntGauge) {
        let number = (index + 1).to_string();
        let labels = &[webhook, &number];
        (self.secret_uses.with_label_values(labels), self.secret_last_use.with_label_values(labels))
    }

    fn figures(&self, webhook: &str, index: usize) -> (u64, i64) {
        let (uses, last_use) = self.secret(webhook, index);
        (uses.get(), last_use.get())
    }

    /// Forgets webhooks; tells which.
    pub(super) fn retain_webhooks(&self, keep: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        let mut gone = Vec::new();
        self.webhooks.retain(|name, secrets| {
            let kept = keep(name);
            if !kept {
                self.forget_secrets(name, secrets.len());
                drop(self.last_success.remove_label_values(&[&**name]));
                gone.push(Arc::clone(name));
            }
            kept
        });
        gone
    }

    fn forget_secrets(&self, webhook: &str, count: usize) {
        for index in 0..count {
            let number = (index + 1).to_string();
            drop(self.secret_uses.remove_label_values(&[webhook, &number]));
            drop(self.secret_last_use.remove_label_values(&[webhook, &number]));
        }
    }

    pub(super) fn bot(&self, webhook: &str) -> Arc<BotStats> {
        let labels = &[webhook];
        let made = || {
            Arc::new(BotStats {
                watch_failures: self.watch_failures.with_label_values(labels),
                reasserted: self.reasserted.with_label_values(labels),
                told: OnceLock::new(),
                families: [&self.pending_updates, &self.last_error, &self.registered].map(Clone::clone),
                webhook: webhook.into(),
            })
        };
        Arc::clone(&self.bots.entry(webhook.into()).or_insert_with(made))
    }

    pub(super) fn retain_bots(&self, keep: impl Fn(&str) -> bool) {
        self.bots.retain(|name, _| {
            let kept = keep(name);
            if !kept {
                for family in [&self.pending_updates, &self.last_error, &self.registered] {
                    drop(family.remove_label_values(&[&**name]));
                }
                for family in [&self.watch_failures, &self.reasserted] {
                    drop(family.remove_label_values(&[&**name]));
                }
            }
            kept
        });
    }

    pub(super) fn senders(&self, webhook: &str) -> Arc<SenderStats> {
        let counter = |sender: &str, hours: &str| self.senders.with_label_values(&[webhook, sender, hours]);
        let made = || Arc::new(SenderStats::new(counter, self.new_senders.with_label_values(&[webhook])));
        Arc::clone(&self.judged.entry(webhook.into()).or_insert_with(made))
    }

    pub(super) fn retain_senders(&self, keep: impl Fn(&str) -> bool) {
        self.judged.retain(|name, _| {
            let kept = keep(name);
            if !kept {
                for (sender, hours) in SenderStats::LABELS {
                    drop(self.senders.remove_label_values(&[&**name, sender, hours]));
                }
                drop(self.new_senders.remove_label_values(&[&**name]));
            }
            kept
        });
    }
}
