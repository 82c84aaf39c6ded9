//! What a request must not name because its reply hides it, in words.

use http::Method;

use super::court::Verdict;
use super::step::{Finding, Name};
use super::walk::Walk;
use crate::denial::Denial;
use crate::gate::Access;
use crate::policy::blank::{Hidden, Unread};
use crate::policy::operation::Message;

/// Most fields that are named.
const MOST_NAMED: usize = 8;

/// A refusal for the sake of hidden fields.
pub(super) struct HiddenRefusal {
    /// Where: with the head, or with the body.
    pub(super) at: Name,
    /// What is wrong.
    pub(super) why: String,
}

impl Walk<'_> {
    /// What the reply must not show; nothing where no key is asked for.
    fn hidden(&self) -> Option<Hidden> {
        let gate = self.court.gate();
        let is_public = gate.route_of(self.path()).is_some_and(|route| route.access == Access::Public);
        let is_call = self.webhook().is_none() && !is_public;
        is_call.then(|| gate.blanks.hidden_from(self.question.method, self.path())).flatten()
    }

    /// True where the body is read for what the reply hides.
    pub(super) fn hides_by_body(&self) -> bool {
        !matches!(*self.question.method, Method::GET | Method::HEAD) && self.hidden().is_some()
    }

    /// Why it is refused, if it is for what the reply hides.
    pub(super) fn hidden_refusal(&self) -> Option<HiddenRefusal> {
        let Verdict::Refused(denial @ (Denial::ScopeNever | Denial::ScopeUnread)) = self.judgement.verdict
        else {
            return None;
        };
        let (method, path) = (self.question.method, self.path());
        if denial == Denial::ScopeNever && self.court.gate().scopes.closed_by(method, path).is_some() {
            return None;
        }
        let hidden = self.hidden()?;
        let head = Message { method, query: self.question.query(), content_type: None, body: b"" };
        let why = |found: Result<Option<&str>, Unread>, part: &str| match found {
            Ok(Some(field)) => {
                Some(format!("its {part} names '{field}', which replies here do not show to any key"))
            }
            Ok(None) => None,
            Err(Unread) => Some(format!(
                "its {part} cannot be read with certainty, and replies here hide {}",
                listed(&hidden)
            )),
        };
        if let Some(why) = why(hidden.named_by(&head), "query") {
            return Some(HiddenRefusal { at: Name::Scope, why });
        }
        let body = self.question.body?;
        let whole = Message { content_type: body.content_type.to_str().ok(), body: body.bytes, ..head };
        why(hidden.named_by(&whole), "body").map(|why| HiddenRefusal { at: Name::Body, why })
    }

    /// What the body must not name.
    pub(super) fn by_hidden(&self, finding: Finding) -> Option<String> {
        let hidden = self.hidden()?;
        let fields = listed(&hidden);
        Some(match finding {
            Finding::NotJudged => {
                format!("it must be JSON that names nothing that replies here hide: {fields}")
            }
            Finding::Passed | Finding::Observed | Finding::Refused => {
                format!("it names nothing that replies here hide: {fields}")
            }
        })
    }

    /// What would have to change.
    pub(super) fn hidden_advice(&self, denial: Denial) -> Option<String> {
        self.hidden_refusal()?;
        Some(if denial == Denial::ScopeUnread {
            "send plain JSON as application/json, without a content coding: where replies hide fields, no key may send another body"
                .to_owned()
        } else {
            "leave the field out: no key may filter, sort or ask by it; a pack of your own (crm_file) may show it".to_owned()
        })
    }
}

/// The fields by name.
fn listed(hidden: &Hidden) -> String {
    let mut names = hidden.names();
    let named: Vec<&str> = names.by_ref().take(MOST_NAMED).collect();
    let more = if names.next().is_some() { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}
