//! The judgement of a request, noted where a revocation looks for it.

use pingora::proxy::Session;

use super::KeyedProxy;
use super::context::Context;
use crate::admission::{Passage, Refusal};
use crate::lines;

impl KeyedProxy {
    /// Has the request judged, and notes which key its connection serves. A key that was revoked in between is judged
    /// again: who revoked it could not know of this request.
    pub(super) fn admit(&self, session: &Session, ctx: &mut Context) -> Result<Passage, Refusal> {
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
