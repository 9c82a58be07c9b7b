//! A way in for the fuzz targets, which are built outside of this crate: bodies of admin calls are read as the calls
//! read them, and nothing is changed.
//!
//! No part of the gateway uses it.

use serde_json::{Value, json};

use super::groups::{Group, edited, read_new};
use super::keys::{read_grace, read_reason};
use super::tokens::terms_of;
use super::{Manage, ManageError};
use crate::clock::Timestamp;
use crate::document::Faults;
use crate::key::Key;
use crate::quantity::format_duration;

/// Reads the body that makes a role or an owner.
///
/// # Errors
/// Every fault.
pub fn new_group<G: Group>(document: &Value) -> Result<G, Faults> {
    read_new(document)
}

/// Reads a merge patch of a role or an owner.
///
/// # Errors
/// Every fault.
pub fn edited_group<G: Group>(before: &G, patch: &Value) -> Result<G, Faults> {
    edited(before, patch)
}

/// Reads the body that makes an admin token, and writes it again.
///
/// # Errors
/// Every fault.
pub fn new_token(document: &Value, now: Timestamp) -> Result<Value, Faults> {
    let terms = terms_of(document, now)?;
    Ok(json!({
        "name": terms.name,
        "permissions": terms.permissions,
        "owner": terms.owner,
        "expires_at": terms.expires_at.map(|at| at.to_string()),
    }))
}

/// Reads the body of a rotation, and writes it again.
///
/// # Errors
/// Every fault.
pub fn rotation(document: &Value) -> Result<Value, Faults> {
    let grace = read_grace(document).map_err(faults_of)?;
    Ok(json!({"grace": format_duration(grace)}))
}

/// Reads the body of a revocation, and writes it again.
///
/// # Errors
/// Every fault.
pub fn revocation(document: &Value) -> Result<Value, Faults> {
    let reason = read_reason(document).map_err(faults_of)?;
    Ok(json!({"reason": reason}))
}

/// Reads a line of an import.
///
/// # Errors
/// What the report would say of it.
pub fn import_line(manage: &Manage, line: &str) -> Result<Key, String> {
    manage.read_line(line).map(|line| line.key)
}

fn faults_of(error: ManageError) -> Faults {
    match error {
        ManageError::Invalid(faults) => faults,
        other => {
            let mut faults = Faults::default();
            faults.add("", other.to_string());
            faults
        }
    }
}
