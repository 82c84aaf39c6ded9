//! `[[route]]`: paths that need no key. First match wins.

use super::reader::{Section, Value};
use super::webhook::{Webhook, route_name};
use crate::gate::Access;
use crate::policy::path::{PathPattern, is_near};

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// `path`: a pattern with `*` and `**`; required.
    pub pattern: PathPattern,
    /// `access`: `public` or `key`; required.
    pub access: Access,
    /// `name`: in metrics and logs; default the access.
    pub name: Box<str>,
}

/// The user's routes, then those that the pack offers: whoever writes a path down is asked first.
pub(super) fn read(
    sections: Vec<Section<'_, '_>>,
    offered: Vec<PathPattern>,
    webhooks: &[Webhook],
) -> Vec<Route> {
    let own = sections.into_iter().filter_map(|section| Route::read(section, webhooks));
    let offered = offered.into_iter().map(|pattern| Route {
        pattern,
        access: Access::Public,
        name: usual_name(Access::Public).into(),
    });
    own.chain(offered).collect()
}

impl Route {
    fn read(section: Section<'_, '_>, webhooks: &[Webhook]) -> Option<Self> {
        let path = section.required("path");
        let pattern = path.and_then(|value| value.parse());
        let access = section.required("access").and_then(access);
        if let Some(path) = path.filter(|_| access == Some(Access::Public)) {
            leads_past(path, webhooks);
        }
        let name = section.get("name").and_then(route_name);
        section.finish();
        let access = access?;
        let usual = || usual_name(access).into();
        Some(Self { pattern: pattern?, access, name: name.unwrap_or_else(usual) })
    }
}

/// A public route that names what lies behind a webhook lets everyone deliver there. One with a `*` does not cover it.
fn leads_past(path: Value<'_, '_>, webhooks: &[Webhook]) {
    let text = path.as_text().unwrap_or_default();
    let Some(webhook) = webhooks.iter().find(|webhook| webhook.doors().any(|door| is_near(door, text)))
    else {
        return;
    };
    let help = "whoever knows this path delivers without a proof: leave the route out".to_owned();
    let message = if *webhook.path == *text {
        format!("the webhook '{}' answers here, this route never", webhook.name)
    } else {
        format!("the CRM may take this path for that of the webhook '{}'", webhook.name)
    };
    path.reading().warning(path.span(), message, (*webhook.path != *text).then_some(help));
}

const fn usual_name(access: Access) -> &'static str {
    match access {
        Access::Public => "public",
        Access::Key => crate::outcome::API_ROUTE,
    }
}

fn access(value: Value<'_, '_>) -> Option<Access> {
    match value.text()? {
        "public" => Some(Access::Public),
        "key" => Some(Access::Key),
        _ => {
            let help = "'public' passes to the CRM, which has its own login; 'key' needs a key with a scope"
                .to_owned();
            value.reading().error(value.span(), "expected 'public' or 'key'", Some(help));
            None
        }
    }
}
