//! The judgement of a request, noted where a revocation and an operator who watches a rotation look for it.

use http::HeaderValue;
use http::header::USER_AGENT;
use pingora::proxy::Session;

use super::KeyedProxy;
use super::context::Context;
use crate::admission::{Passage, Refusal};
use crate::lines;

impl KeyedProxy {
    /// Has the request judged, and notes which key its connection serves, and its caller where the key is being
    /// rotated.
    pub(super) fn admit(&self, session: &Session, ctx: &mut Context) -> Result<Passage, Refusal> {
        let judged = self.admit_held(session, ctx);
        let found = match &judged {
            Ok(Passage::Keyed(permit)) => Some(permit.found()),
            Ok(Passage::Public) => None,
            Err(refusal) => refusal.found.as_ref(),
        };
        if let (Some(found), Some(address)) = (found, ctx.address)
            && found.entry.is_rotating(ctx.received)
        {
            let agent = session.req_header().headers.get(USER_AGENT).map(HeaderValue::as_bytes);
            self.0.callers.note(found, address, agent, ctx.received);
        }
        judged
    }

    /// A key that was revoked between its judgement and the note is judged again: who revoked it could not know of this
    /// request.
    fn admit_held(&self, session: &Session, ctx: &mut Context) -> Result<Passage, Refusal> {
        loop {
            let passage = self.judge(session, ctx)?;
            let Passage::Keyed(permit) = &passage else { return Ok(passage) };
            ctx.hold = lines::hold(permit.entry().id);
            if !permit.entry().live.in_flight.is_closed() {
                return Ok(passage);
            }
            ctx.hold = None;
        }
    }
}
