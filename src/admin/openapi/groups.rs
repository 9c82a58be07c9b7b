//! The schemas of roles, owners and admin tokens.

use serde_json::{Value, json};

use super::schema::{
    about, integer, limits, list, new_limits, nullable, object, page, reference, scope, slug, text, time,
    token_id, whole,
};
use crate::manage::Permission;
use crate::manage::groups::MAX_ACTIVE_KEYS;
use crate::manage::profile::{MAX_DESCRIPTION_CHARS, MAX_NAME_CHARS, MAX_SCOPES};

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("Role", role()),
        ("RolePage", page("Role")),
        ("NewRole", named(role_fields())),
        ("RolePatch", object(&[], role_fields())),
        ("Owner", owner()),
        ("OwnerPage", page("Owner")),
        ("NewOwner", named(owner_fields())),
        ("OwnerPatch", object(&[], owner_fields())),
        ("AdminToken", token()),
        ("AdminTokenPage", page("AdminToken")),
        ("NewAdminToken", new_token()),
        ("IssuedAdminToken", issued_token()),
    ]
}

fn named(fields: [(&'static str, Value); 3]) -> Value {
    let [a, b, c] = fields;
    object(&["name"], [("name", about(slug(), "It never changes.")), a, b, c])
}

fn description() -> (&'static str, Value) {
    ("description", nullable(text(0, MAX_DESCRIPTION_CHARS)))
}

fn role_fields() -> [(&'static str, Value); 3] {
    let limits = about(new_limits(), "For keys that set none of their own; no two with one name.");
    [description(), ("scopes", nullable(list(&scope(), MAX_SCOPES))), ("limits", nullable(limits))]
}

fn cap() -> Value {
    nullable(about(integer(1, MAX_ACTIVE_KEYS), "How many of its keys may be active at once."))
}

fn owner_fields() -> [(&'static str, Value); 3] {
    let limits = about(new_limits(), "Shared by all of its keys; no two with one name.");
    [description(), ("max_active_keys", cap()), ("limits", nullable(limits))]
}

fn role() -> Value {
    whole([
        ("name", slug()),
        ("description", text(0, MAX_DESCRIPTION_CHARS)),
        ("scopes", list(&scope(), MAX_SCOPES)),
        ("limits", limits()),
        ("created_at", time()),
        ("updated_at", time()),
    ])
}

fn owner() -> Value {
    whole([
        ("name", slug()),
        ("description", text(0, MAX_DESCRIPTION_CHARS)),
        ("max_active_keys", cap()),
        ("limits", limits()),
        ("created_at", time()),
        ("updated_at", time()),
    ])
}

/// Each permission, and each group of them.
fn permissions() -> Value {
    let mut words: Vec<String> = Permission::ALL.iter().map(|one| one.as_str().to_owned()).collect();
    for permission in Permission::ALL {
        let text = permission.as_str();
        let group = text.rsplit_once('.').map_or(String::new(), |(group, _)| format!("{group}.*"));
        if Permission::parse(&group).is_some() && !words.contains(&group) {
            words.push(group);
        }
    }
    let mut list = list(&json!({"type": "string", "enum": words}), Permission::ALL.len());
    list["minItems"] = 1.into();
    about(list, "`api.admin` is all of them; `api.role.*` is all that begin so.")
}

fn terms() -> [(&'static str, Value); 3] {
    [
        ("permissions", permissions()),
        ("owner", nullable(about(slug(), "Bound to this owner: the keys of others do not exist for it."))),
        ("expires_at", nullable(time())),
    ]
}

fn new_token() -> Value {
    let [permissions, owner, expires_at] = terms();
    object(&["name", "permissions"], [("name", text(1, MAX_NAME_CHARS)), permissions, owner, expires_at])
}

fn token() -> Value {
    let [permissions, owner, expires_at] = terms();
    whole([
        ("id", token_id()),
        ("name", text(1, MAX_NAME_CHARS)),
        ("fingerprint", json!({"type": "string"})),
        permissions,
        owner,
        ("created_at", time()),
        expires_at,
    ])
}

fn issued_token() -> Value {
    let secret = about(json!({"type": "string"}), "The plaintext, shown this once.");
    whole([("admin_token", reference("AdminToken")), ("secret", secret)])
}
