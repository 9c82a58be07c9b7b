//! Who may put another configuration in force, and the audit log's word of it. What a configuration is and how it takes
//! force is the composition root's business.

use serde_json::Value;

use super::{Actor, Manage, ManageError, Permission};
use crate::store::Change;
use crate::store::audit::Draft;

/// The action in the audit log.
const ACTION: &str = "config.reload";
/// Its target.
const TARGET: &str = "configuration";

impl Manage {
    /// Lets `prepare` make ready what is to take force, and writes down that it does before it does. `prepare` returns
    /// what the audit log says of it, without anything secret.
    ///
    /// # Errors
    /// The token may not, there is nothing to be put in force, or the store failed.
    pub fn reload_configuration(
        &self,
        actor: &Actor,
        prepare: impl FnOnce() -> Result<Value, ManageError>,
    ) -> Result<(), ManageError> {
        self.audited(actor, ACTION, TARGET, || {
            actor.needs(Permission::Admin)?;
            actor.needs_all_owners()?;
            let after = prepare()?;
            let draft = Draft {
                at: self.now(),
                actor: actor.id.clone(),
                action: ACTION,
                target: TARGET.into(),
                outcome: "done".into(),
                before: None,
                after: Some(after.to_string()),
                address: actor.address.map(|address| address.to_string()),
                request_id: actor.request_id.clone(),
            };
            self.store.commit(&mut Change { writes: Vec::new(), audit: vec![draft] })?;
            Ok(())
        })
    }
}
