//! A rotation one can watch: each secret of a key, how much it is used, and by whom.

use serde_json::{Value, json};

use super::view::{KeyView, time};
use super::{Actor, Manage, ManageError};
use crate::key::{KeyId, SecretVersion};
use crate::usage::callers::Caller;
pub use crate::usage::callers::MAX_CALLERS;

/// A key's secrets in use.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The key, with the usage of each secret.
    pub view: KeyView,
    /// The last callers of each secret, newest first.
    pub callers: Vec<(u32, Vec<Caller>)>,
}

impl Manage {
    /// Who uses which of a key's secrets.
    ///
    /// # Errors
    /// There is no such key, or the store failed.
    pub fn rotation(&self, actor: &Actor, id: KeyId) -> Result<Rotation, ManageError> {
        let view = self.key(actor, id)?;
        Ok(Rotation { view, callers: self.callers.of(id) })
    }
}

impl Rotation {
    /// As JSON: the oldest secret first, as in the key itself.
    pub fn to_json(&self) -> Value {
        let version = |version: &SecretVersion| self.version_json(version);
        json!({"versions": self.view.key.versions.iter().map(version).collect::<Vec<_>>()})
    }

    fn version_json(&self, version: &SecretVersion) -> Value {
        let totals = self.view.totals_of(version.version);
        let callers = self.callers.iter().find(|(number, _)| *number == version.version);
        let callers = callers.map_or(&[][..], |(_, callers)| callers);
        json!({
            "version": version.version,
            "fingerprint": version.fingerprint.as_str(),
            "state": version.state(self.view.now).as_str(),
            "created_at": version.created_at.to_string(),
            "expires_at": time(version.superseded.map(|end| end.not_after)),
            "requests": totals.requests,
            "first_used_at": time(totals.first_used),
            "last_used_at": time(totals.last_used),
            "callers": callers.iter().map(caller_json).collect::<Vec<_>>(),
        })
    }
}

fn caller_json(caller: &Caller) -> Value {
    json!({
        "address": caller.address.to_string(),
        "user_agent": caller.user_agent,
        "at": caller.at.to_string(),
    })
}
