//! An example for each body that is sent or answered.

use serde_json::{Value, json};

const ID: &str = "key_01k9m2c3d4e5f6g7h8j9k0m1n2";
const AT: &str = "2026-11-21T13:00:00Z";
const TOKEN_ID: &str = "admt_01k9m2c3d4e5f6g7h8j9k0m1n2";

/// An example of a schema.
pub(super) fn of(schema: &str) -> Option<Value> {
    Some(match schema {
        "Key" => key(),
        "KeyPage" => page(&key()),
        "NewKey" => new_key(),
        "KeyPatch" => {
            json!({"description": "for the nightly build", "scopes": ["models:*"], "expires_at": null})
        }
        "ImportLine" => json!({"name": "from elsewhere", "secret": "sk-0123456789abcdefghij"}),
        "IssuedKey" => {
            json!({"key": key(), "secret": "pc_live_EXAMPLEexampleEXAMPLEexample000000abcdef"})
        }
        "ImportReport" => json!({"imported": 1, "refused": [{"line": 2, "detail": "/name: is required"}]}),
        "RevealedSecret" => json!({
            "secret": "pc_live_EXAMPLEexampleEXAMPLEexample000000abcdef", "version": 1,
            "fingerprint": "pc_live_…cdef",
        }),
        "RevokedKey" => {
            let mut key = key();
            (key["status"], key["revoked_at"], key["cut"]) = (json!("revoked"), json!(AT), json!(2));
            key
        }
        "RotationReport" => json!({"versions": [{
            "version": 1, "fingerprint": "pc_live_…x7Qz", "state": "active", "created_at": AT,
            "expires_at": null, "requests": 42, "first_used_at": AT, "last_used_at": AT,
            "callers": [{"address": "203.0.113.7", "user_agent": "curl/8.5.0", "at": AT}],
        }]}),
        "Rotation" => json!({"grace": "24h"}),
        "Revocation" => json!({"reason": "leaked"}),
        "Nothing" => json!({}),
        "CheckRequest" => {
            json!({"method": "GET", "host": "api.example.com", "path": "/v1/models", "address": "203.0.113.7"})
        }
        "CheckReport" => json!({
            "allowed": false,
            "code": "ip_not_allowed",
            "steps": [
                {"rule": "route", "passed": true, "detail": null},
                {"rule": "address", "passed": false, "detail": "This address is not on the key's list."},
            ],
        }),
        other => return of_groups(other).or_else(|| of_reports(other)),
    })
}

fn of_groups(schema: &str) -> Option<Value> {
    let permissions = ["api.key.view", "api.usage.view"];
    Some(match schema {
        "Role" => role(),
        "RolePage" => page(&role()),
        "NewRole" => json!({"name": "reader", "scopes": ["models:read"]}),
        "RolePatch" => json!({"scopes": ["models:read", "files:read"]}),
        "Owner" => owner(),
        "OwnerPage" => page(&owner()),
        "NewOwner" => json!({"name": "acme", "max_active_keys": 20}),
        "OwnerPatch" => json!({"max_active_keys": null}),
        "AdminToken" => admin_token(),
        "AdminTokenPage" => page(&admin_token()),
        "NewAdminToken" => json!({"name": "dashboard", "permissions": permissions, "owner": "acme"}),
        "IssuedAdminToken" => {
            json!({"admin_token": admin_token(), "secret": "pca_admin_EXAMPLEexampleEXAMPLEexample000000abcdef"})
        }
        _ => return None,
    })
}

fn of_reports(schema: &str) -> Option<Value> {
    let row = || json!({"start": "2026-11-21T00:00:00Z", "owner": "acme", "requests": 42, "denied": 1});
    Some(match schema {
        "UsageRow" => row(),
        "UsagePage" => page(&row()),
        "AuditEntry" => audit_entry(),
        "AuditPage" => page(&audit_entry()),
        "AuditVerified" => {
            json!({"intact": true, "entries": 128, "broken_at": null, "newest_hash": "9f".repeat(32)})
        }
        "Reloaded" => json!({"routes": 3, "upstreams": 2, "needs_restart": ["gateway.listen"]}),
        "Upstreams" => json!({"upstreams": [{"name": "api", "targets": [{
            "address": "api.internal:9000", "weight": 1, "running": 2,
            "addresses": [{"address": "10.0.0.7:9000", "standing": "healthy", "failures": 0}],
        }]}]}),
        "Health" => json!({"status": "ready"}),
        _ => return None,
    })
}

fn page(item: &Value) -> Value {
    json!({"items": [item], "next_cursor": null, "prev_cursor": null, "total": 1})
}

fn new_key() -> Value {
    json!({
        "name": "ci",
        "description": "the build server",
        "owner": "acme",
        "tags": ["build"],
        "metadata": {"ticket": 4711},
        "scopes": ["models:read"],
        "ip_allow": ["203.0.113.0/24"],
        "limits": [{"name": "minute", "requests": 600, "window": "1m", "burst": 100}],
        "quotas": [{"name": "monthly", "requests": 1_000_000, "window": "month"}],
        "max_concurrent": 10,
        "expires_at": "2099-01-01T00:00:00Z",
    })
}

fn key() -> Value {
    let version = json!({
        "version": 1, "fingerprint": "pc_live_…x7Qz", "state": "active", "created_at": AT, "expires_at": null,
        "last_used_at": AT, "requests": 42,
    });
    json!({
        "id": ID,
        "name": "ci",
        "description": "the build server",
        "owner": "acme",
        "environment": "live",
        "tags": ["build"],
        "metadata": {"ticket": 4711},
        "status": "active",
        "fingerprint": "pc_live_…x7Qz",
        "role": null,
        "scopes": ["models:read"],
        "ip_allow": ["203.0.113.0/24"],
        "limits": [{"name": "minute", "requests": 600, "window": "1m", "burst": 100}],
        "quotas": [{"name": "monthly", "requests": 1_000_000, "window": "month"}],
        "max_concurrent": 10,
        "created_at": AT,
        "created_by": TOKEN_ID,
        "updated_at": AT,
        "expires_at": "2099-01-01T00:00:00Z",
        "rotated_at": null,
        "revoked_at": null,
        "rotation_due": false,
        "versions": [version],
        "usage": {"requests": 42, "denied": 1, "last_used_at": AT},
    })
}

fn role() -> Value {
    json!({
        "name": "reader", "description": "", "scopes": ["models:read"], "limits": [], "created_at": AT,
        "updated_at": AT,
    })
}

fn owner() -> Value {
    json!({
        "name": "acme", "description": "", "max_active_keys": 20, "limits": [], "created_at": AT,
        "updated_at": AT,
    })
}

fn admin_token() -> Value {
    json!({
        "id": TOKEN_ID, "name": "dashboard", "fingerprint": "pca_admin_…x7Qz",
        "permissions": ["api.key.view", "api.usage.view"], "owner": "acme", "created_at": AT,
        "expires_at": null,
    })
}

fn audit_entry() -> Value {
    json!({
        "seq": 7, "at": AT, "actor": TOKEN_ID, "action": "role.delete", "target": "reader",
        "outcome": "done", "before": role(), "after": null, "address": "127.0.0.1",
        "request_id": "01ke9m2c3d4e5f6g7h8j9k0m1n", "previous_hash": "1b".repeat(32), "hash": "9f".repeat(32),
    })
}
