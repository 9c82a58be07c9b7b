//! The operations of `/keys`.

use super::answer::{in_query, shared};
use super::{Answer, Body, Content, Operation, Presence};
use crate::admin::openapi::schema;
use crate::admin::{MAX_BODY_BYTES, MAX_IMPORT_BYTES, check, keys};
use crate::key::Status;
use crate::manage::Permission;
use crate::manage::import::{MAX_LINE_BYTES, MAX_LINES};
use crate::manage::list::Sort;

const TAG: &str = "keys";

pub(super) fn operations() -> Vec<Operation> {
    [lists(), edits(), secrets()].into_iter().flatten().collect()
}

fn json_body(schema: &'static str, presence: Presence) -> Body {
    Body { content: Content::Json(schema), presence, most: MAX_BODY_BYTES }
}

fn lists() -> Vec<Operation> {
    let word = schema::text(1, 200);
    let filter = |name: &str, description: &str| in_query(name, description, &word);
    let lines =
        Body { content: Content::Lines("ImportLine"), presence: Presence::Optional, most: MAX_IMPORT_BYTES };
    vec![
        Operation::get("/api/v1/keys", "listKeys", keys::list)
            .about(TAG, "List keys", "Newest first where no `sort` is given. Every filter must hold.")
            .needs(Permission::KeyView)
            .with([
                in_query("status", "With this status.", &schema::one_of(Status::ALL.map(Status::as_str))),
                filter("owner", "Of this owner."),
                filter("environment", "Of this environment."),
                filter("role", "With this role."),
                filter("tag", "With this tag."),
                filter("q", "With this text in name, description, ID or fingerprint, whatever its case."),
                in_query("unused_since", "Not used since then.", &schema::time()),
                in_query("sort", "In which order.", &schema::one_of(Sort::ALL.map(Sort::as_str))),
                shared("limit"),
                shared("cursor"),
            ])
            .answers(Answer::json(200, "A page of keys.", "KeyPage")),
        Operation::post("/api/v1/keys", "createKey", keys::create)
            .about(TAG, "Create a key", "The secret is in this answer and in no other.")
            .needs(Permission::KeyCreate)
            .with([shared("idempotencyKey")])
            .takes(json_body("NewKey", Presence::Required))
            .answers(Answer::json(201, "The key and its secret.", "IssuedKey").and(&[
                "Location",
                "ETag",
                "Idempotency-Replayed",
            ]))
            .or(&[409]),
        Operation::post("/api/v1/keys/import", "importKeys", keys::import)
            .about(
                TAG,
                "Import keys with their secrets",
                format!(
                    "JSON Lines, at most {MAX_LINES} of at most {MAX_LINE_BYTES} bytes. A line is imported whole or \
                     not at all; the answer says which were refused and why."
                ),
            )
            .needs(Permission::KeyCreate)
            .takes(lines)
            .answers(Answer::json(200, "What became of the lines.", "ImportReport")),
    ]
}

fn edits() -> Vec<Operation> {
    let one = |operation: Operation| operation.with([shared("keyId")]).or(&[404]);
    let switch = |operation: Operation, summary, description: &str| {
        one(operation)
            .about(TAG, summary, description)
            .needs(Permission::KeyUpdate)
            .with([shared("ifMatch")])
            .takes(json_body("Nothing", Presence::Optional))
            .answers(Answer::json(200, "The key.", "Key").and(&["ETag"]))
            .or(&[409, 412])
    };
    vec![
        one(Operation::get("/api/v1/keys/{id}", "getKey", keys::show))
            .about(TAG, "Show a key", "Its `ETag` is of what an admin can change; traffic does not move it.")
            .needs(Permission::KeyView)
            .answers(Answer::json(200, "The key.", "Key").and(&["ETag"])),
        one(Operation::patch("/api/v1/keys/{id}", "editKey", keys::edit))
            .about(
                TAG,
                "Edit a key",
                "A merge patch (RFC 7396): what is left out stays, null clears. It holds for the next request.",
            )
            .needs(Permission::KeyUpdate)
            .with([shared("ifMatch")])
            .takes(json_body("KeyPatch", Presence::Required))
            .answers(Answer::json(200, "The key.", "Key").and(&["ETag"]))
            .or(&[409, 412]),
        one(Operation::delete("/api/v1/keys/{id}", "deleteKey", keys::delete))
            .about(TAG, "Delete a key", "Its record goes, its usage stays.")
            .needs(Permission::KeyDelete)
            .with([shared("ifMatch")])
            .answers(Answer::new(204, "It is gone.", Content::None))
            .or(&[412]),
        switch(
            Operation::post("/api/v1/keys/{id}/enable", "enableKey", keys::enable),
            "Enable a key",
            "A revoked key stays revoked: 409.",
        ),
        switch(
            Operation::post("/api/v1/keys/{id}/disable", "disableKey", keys::disable),
            "Disable a key",
            "Reversible; nothing is lost.",
        ),
    ]
}

fn secrets() -> Vec<Operation> {
    let one = |operation: Operation| operation.with([shared("keyId")]).or(&[404]);
    vec![
        one(Operation::post("/api/v1/keys/{id}/rotate", "rotateKey", keys::rotate))
            .about(
                TAG,
                "Give a key a new secret",
                "The old one works until `grace` ends; without a grace it is dead at once.",
            )
            .needs(Permission::KeyUpdate)
            .with([shared("ifMatch"), shared("idempotencyKey")])
            .takes(json_body("Rotation", Presence::Optional))
            .answers(
                Answer::json(200, "The key and its new secret.", "IssuedKey")
                    .and(&["ETag", "Idempotency-Replayed"]),
            )
            .or(&[409, 412]),
        one(Operation::get("/api/v1/keys/{id}/rotation", "getRotation", keys::rotation))
            .about(TAG, "Watch a rotation", "Of each secret: how much it is used, and its last callers.")
            .needs(Permission::KeyView)
            .answers(Answer::json(200, "The key's secrets in use.", "RotationReport")),
        one(Operation::get("/api/v1/keys/{id}/secret", "revealKey", keys::reveal))
            .about(
                TAG,
                "Show a key's secret again",
                "Only with `keys.recoverable`: 404 otherwise, and where the secret was made before, imported as a \
                 hash, or revoked. Each call is in the audit log.",
            )
            .needs(Permission::KeyReveal)
            .answers(Answer::json(200, "The newest secret.", "RevealedSecret")),
        one(Operation::post("/api/v1/keys/{id}/revoke", "revokeKey", keys::revoke))
            .about(
                TAG,
                "Revoke a key",
                "At once and for good; what the key has running is cut. Revoking again changes nothing.",
            )
            .needs(Permission::KeyDelete)
            .with([shared("ifMatch")])
            .takes(json_body("Revocation", Presence::Optional))
            .answers(Answer::json(200, "The key, and what was cut.", "RevokedKey").and(&["ETag"]))
            .or(&[412]),
        one(Operation::post("/api/v1/keys/{id}/check", "checkKey", check::check))
            .about(
                TAG,
                "Ask whether a request would pass",
                "Runs the gateway's own rules and charges nothing. `code` is that of the first rule that says no.",
            )
            .needs(Permission::KeyView)
            .takes(json_body("CheckRequest", Presence::Required))
            .answers(Answer::json(200, "What each rule says.", "CheckReport")),
    ]
}
