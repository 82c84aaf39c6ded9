//! Which requests are asked for.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::Failure;
use super::super::place::Place;
use crate::clock::WallTime;
use crate::networks::Networks;
use crate::records::line::Record;
use crate::records::reading::Query;

/// What was typed about it.
#[derive(Debug, clap::Args)]
pub(in super::super) struct WantedOpts {
    /// Requests with this key: its id, also of one that is gone, or its title
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// From these addresses: one, or a network as 203.0.113.0/24
    #[arg(long, value_name = "ADDRESS", value_parser = network)]
    address: Option<IpNet>,
    /// Only what was refused, or could not be answered
    #[arg(long)]
    refused: bool,
    /// Refused for this reason, as the access log has it
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
    /// Of this route or webhook
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// With paths that begin so
    #[arg(long, value_name = "PREFIX")]
    path: Option<String>,
    /// The request with this id, as its answer had it in X-Request-Id
    #[arg(long, value_name = "ID")]
    pub(super) request_id: Option<String>,
}

/// The same, ready to compare.
pub(super) struct Wanted {
    key: Option<String>,
    address: Option<(IpNet, Networks)>,
    refused: bool,
    reason: Option<String>,
    route: Option<String>,
    path: Option<String>,
    id: Option<String>,
}

impl Wanted {
    pub(super) fn of(opts: &WantedOpts, place: &Place) -> Result<Self, Failure> {
        Ok(Self {
            key: opts.key.as_deref().map(|named| place.id_of(named)).transpose()?,
            address: opts.address.map(|net| (net, Networks::new([net]))),
            refused: opts.refused,
            reason: opts.reason.clone(),
            route: opts.route.clone(),
            path: opts.path.clone(),
            id: opts.request_id.clone(),
        })
    }

    /// Lines in that span which may fit; [`Self::fits`] says whether they do.
    pub(super) fn query(&self, since: Option<WallTime>, until: Option<WallTime>) -> Query {
        let quoted = |text: &Option<String>| text.as_ref().map(|text| format!("\"{text}\""));
        let address = self.address.as_ref().and_then(|(net, _)| {
            (net.prefix_len() == net.max_prefix_len()).then(|| format!("\"{}\"", net.addr().to_canonical()))
        });
        // A path stands there with escapes, if it has characters that need them.
        let is_plain =
            |path: &&String| path.bytes().all(|it| it.is_ascii_graphic() && it != b'"' && it != b'\\');
        let texts = [
            quoted(&self.key),
            quoted(&self.reason),
            quoted(&self.route),
            quoted(&self.id),
            address,
            self.refused.then(|| "\"reason\"".to_owned()),
            self.path.as_ref().filter(is_plain).cloned(),
        ];
        texts.into_iter().flatten().fold(Query::new(since, until), |query, text| query.holding(&text))
    }

    pub(super) fn fits(&self, record: &Record<'_>) -> bool {
        let is = |wanted: &Option<String>, has: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| has == Some(wanted))
        };
        is(&self.key, record.key)
            && is(&self.reason, record.reason)
            && is(&self.route, Some(record.route))
            && is(&self.id, Some(record.id))
            && (!self.refused || record.is_refused())
            && self.path.as_deref().is_none_or(|prefix| record.path.starts_with(prefix))
            && self.address.as_ref().is_none_or(|(_, networks)| {
                record.client.parse::<IpAddr>().is_ok_and(|ip| networks.contains(ip))
            })
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let expected = "expected an address, or a network such as 203.0.113.0/24 or 2001:db8::/32";
    let address = || text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
    text.parse::<IpNet>().map(|net| net.trunc()).or_else(|_| address()).map_err(|_| expected.to_owned())
}
