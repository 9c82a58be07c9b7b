//! The operations of admin tokens, usage, the audit log, the document itself, metrics and health.

use super::answer::{in_path, in_query, shared};
use super::{Answer, Body, Content, Operation, Presence, Token};
use crate::admin::openapi::{self, schema};
use crate::admin::{MAX_BODY_BYTES, audit, backup, control, health, tokens, usage};
use crate::manage::Permission;
use crate::outcome::Outcome;

pub(super) fn operations() -> Vec<Operation> {
    [admin_tokens(), reports(), store(), gateway(), listener()].into_iter().flatten().collect()
}

fn admin_tokens() -> Vec<Operation> {
    let tag = "admin-tokens";
    let id = || in_path("id", "The token's ID.", &schema::token_id());
    let body =
        Body { content: Content::Json("NewAdminToken"), presence: Presence::Required, most: MAX_BODY_BYTES };
    let operations = [
        Operation::get("/api/v1/admin-tokens", "listAdminTokens", tokens::list)
            .about(tag, "List admin tokens", "By ID. Never a token's plaintext.")
            .with([shared("limit"), shared("cursor")])
            .answers(Answer::json(200, "A page.", "AdminTokenPage")),
        Operation::post("/api/v1/admin-tokens", "createAdminToken", tokens::create)
            .about(tag, "Make an admin token", "Its plaintext is in this answer and in no other.")
            .takes(body)
            .answers(
                Answer::json(201, "The token and its plaintext.", "IssuedAdminToken").and(&["Location"]),
            ),
        Operation::get("/api/v1/admin-tokens/{id}", "getAdminToken", tokens::show)
            .about(tag, "Show an admin token", "")
            .with([id()])
            .answers(Answer::json(200, "The token.", "AdminToken"))
            .or(&[404]),
        Operation::delete("/api/v1/admin-tokens/{id}", "revokeAdminToken", tokens::revoke)
            .about(
                tag,
                "Revoke an admin token",
                "At once. The last one that may do everything cannot be: 409.",
            )
            .with([id()])
            .answers(Answer::new(204, "It is dead.", Content::None))
            .or(&[404, 409]),
    ];
    operations.map(|operation| operation.needs(Permission::Admin).for_all_owners()).into()
}

fn reports() -> Vec<Operation> {
    let word = schema::text(1, 200);
    let time = schema::time();
    vec![
        Operation::get("/api/v1/usage", "getUsage", usage::report)
            .about(
                "usage",
                "Report usage",
                "The ledger added up, by time and by what divides it. JSON pages; `text/csv` and \
                 `application/x-ndjson` bring the whole report, without pages.",
            )
            .needs(Permission::UsageView)
            .with([
                in_query("from", "The first moment; rounded down to its hour.", &time),
                in_query("to", "The first moment after; rounded up to its hour.", &time),
                in_query("step", "How long one row's time is.", &schema::one_of(["hour", "day", "month"])),
                in_query(
                    "group_by",
                    "What divides the report.",
                    &schema::one_of(["key", "owner", "route", "outcome"]),
                ),
                in_query("key", "Of this key alone; it may be deleted.", &schema::key_id()),
                in_query("owner", "Of this owner alone.", &word),
                in_query("route", "On this route alone.", &schema::text(1, 2_000)),
                in_query(
                    "outcome",
                    "With this outcome alone.",
                    &schema::one_of(Outcome::ALL.map(Outcome::as_str)),
                ),
                shared("limit"),
                shared("cursor"),
            ])
            .answers(Answer::new(200, "The report.", Content::Table("UsagePage", "UsageRow")))
            .or(&[409]),
        Operation::get("/api/v1/audit", "listAudit", audit::list)
            .about(
                "audit",
                "Read the audit log",
                "Newest first: every change and every refused attempt. `application/x-ndjson` brings all that match.",
            )
            .needs(Permission::AuditView)
            .for_all_owners()
            .with([
                in_query("actor", "By this admin token.", &word),
                in_query("action", "Of this action, such as key.revoke.", &word),
                in_query("target", "On this target.", &word),
                in_query("outcome", "With this outcome: done, or the code of a refusal.", &word),
                in_query("from", "Not before this.", &time),
                in_query("to", "Before this.", &time),
                shared("limit"),
                shared("cursor"),
            ])
            .answers(Answer::new(200, "A page.", Content::JsonOrLines("AuditPage", "AuditEntry"))),
        Operation::get("/api/v1/audit/verify", "verifyAudit", audit::verify)
            .about(
                "audit",
                "Verify the audit log's chain",
                "Walks all of it and names the first entry that does not follow from the one before it.",
            )
            .needs(Permission::AuditView)
            .for_all_owners()
            .answers(Answer::json(200, "What was found.", "AuditVerified")),
    ]
}

fn store() -> Vec<Operation> {
    vec![
        Operation::post("/api/v1/backup", "makeBackup", backup::backup)
            .about(
                "store",
                "Back up the store",
                "All of one moment, as `portcullis store restore` takes it. One at a time: 409. A stream that broke off \
                 has no end of its own, and is refused when it is restored.",
            )
            .needs(Permission::Admin)
            .for_all_owners()
            .answers(Answer::new(200, "The backup.", Content::Bytes))
            .or(&[409]),
    ]
}

fn gateway() -> Vec<Operation> {
    vec![
        Operation::post("/api/v1/reload", "reloadConfiguration", control::reload)
            .about(
                "gateway",
                "Reload the configuration file",
                "As SIGHUP does: routes, upstreams, limits, trusted proxies, the log's level and its access lines take \
                 force at once, and no request is lost. A file with faults is refused whole (422), each fault with its \
                 pointer and line, and the old one stays in force. 409 where the gateway was not started from a file.",
            )
            .needs(Permission::Admin)
            .for_all_owners()
            .answers(Answer::json(200, "It is in force.", "Reloaded"))
            .or(&[409]),
        Operation::get("/api/v1/upstreams", "listUpstreams", control::upstreams)
            .about("gateway", "Show the upstreams", "Their targets, and how each address of them stands.")
            .needs(Permission::Admin)
            .for_all_owners()
            .answers(Answer::json(200, "All of them, by name.", "Upstreams")),
    ]
}

fn listener() -> Vec<Operation> {
    vec![
        Operation::get("/api/v1/openapi.json", "getOpenApi", openapi::show)
            .about("listener", "This document", "Generated from the code that serves it.")
            .answers(Answer::new(200, "An OpenAPI 3.1 document.", Content::AnyJson)),
        Operation::get("/metrics", "getMetrics", health::metrics)
            .about(
                "listener",
                "Metrics",
                "In Prometheus' text format. With `admin.metrics_open`, without a token.",
            )
            .token(Token::UnlessOpen)
            .answers(Answer::new(200, "The series.", Content::Text)),
        Operation::get("/livez", "getLive", health::live)
            .about("listener", "Whether the process runs", "")
            .token(Token::None)
            .answers(Answer::json(200, "It does.", "Health")),
        Operation::get("/readyz", "getReady", health::ready)
            .about("listener", "Whether the gateway serves", "")
            .token(Token::None)
            .answers(Answer::json(200, "It does.", "Health"))
            .answers(Answer::json(503, "It does not, and why.", "Health")),
    ]
}
