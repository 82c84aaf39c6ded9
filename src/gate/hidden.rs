//! What the reply to a key must not show: found with the head, and kept with the request until its reply comes.

use http::Method;

use super::Gate;
use super::operation::Permit;
use crate::denial::Denial;
use crate::policy::blank::Hidden;
use crate::policy::operation::Message;
use crate::request_head::Head;

impl Gate {
    /// What the reply must not show, and the request must not name.
    #[inline]
    pub(super) fn hidden(&self, method: &Method, head: &Head) -> Result<Option<Hidden>, Denial> {
        if self.blanks.is_empty() { Ok(None) } else { self.hidden_there(method, head) }
    }

    fn hidden_there(&self, method: &Method, head: &Head) -> Result<Option<Hidden>, Denial> {
        let Some(hidden) = self.blanks.hidden_from(method, head.target.path()) else { return Ok(None) };
        // Nobody can look into what passes through a tunnel.
        if head.facts.wants_upgrade {
            return Err(Denial::ScopeNever);
        }
        let message = Message { method, query: head.target.query(), content_type: None, body: b"" };
        unnamed(&hidden, &message)?;
        Ok(Some(hidden))
    }
}

/// With something to hide, the body is read too. `GET` and `HEAD` have none: their head was refused otherwise.
pub(super) fn reading<'s>(permit: Permit<'s>, hidden: Option<&Hidden>, method: &Method) -> Permit<'s> {
    match hidden {
        Some(_) if *method != Method::GET && *method != Method::HEAD => Permit::AskBody,
        Some(_) | None => permit,
    }
}

/// Refuses a request that names what its reply must not show.
pub(super) fn unnamed(hidden: &Hidden, message: &Message<'_>) -> Result<(), Denial> {
    match hidden.named_by(message) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(Denial::ScopeNever),
        Err(_) => Err(Denial::ScopeUnread),
    }
}
