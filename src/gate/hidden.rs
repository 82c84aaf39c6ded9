//! What the reply to a key must not show: found with the head, and kept with the request until its reply comes.

use http::Method;

use super::Gate;
use super::operation::Permit;
use crate::denial::Denial;
use crate::policy::blank::Hidden;
use crate::policy::operation::Message;
use crate::request_head::Head;

impl Gate {
    /// What the reply must not show. Where there is something, the request must not name it: a body is read first.
    pub(super) fn hidden<'s>(
        &self,
        permit: Permit<'s>,
        method: &Method,
        head: &Head,
    ) -> Result<(Permit<'s>, Option<Hidden>), Denial> {
        let Some(hidden) = self.blanks.hidden_from(method, head.target.path()) else {
            return Ok((permit, None));
        };
        // Nobody can look into what passes through a tunnel.
        if head.facts.wants_upgrade {
            return Err(Denial::ScopeNever);
        }
        let message = Message { method, query: head.target.query(), content_type: None, body: b"" };
        unnamed(&hidden, &message)?;
        // These have no body: the head was refused otherwise.
        let permit = if *method == Method::GET || *method == Method::HEAD { permit } else { Permit::AskBody };
        Ok((permit, Some(hidden)))
    }
}

/// Refuses a request that names what its reply must not show.
pub(super) fn unnamed(hidden: &Hidden, message: &Message<'_>) -> Result<(), Denial> {
    match hidden.is_named_by(message) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Denial::ScopeNever),
        Err(_) => Err(Denial::ScopeUnread),
    }
}
