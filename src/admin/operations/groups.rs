//! The operations of `/roles` and `/owners`: the same five over two kinds of thing.

use super::answer::{in_path, shared};
use super::{Answer, Body, Content, Operation, Presence};
use crate::admin::openapi::schema;
use crate::admin::{MAX_BODY_BYTES, groups};
use crate::key::group::{Owner, Role};
use crate::manage::groups::Group;

/// The words of one kind. A schema's name, an operation's ID.
struct Words {
    tag: &'static str,
    paths: [&'static str; 2],
    ids: [&'static str; 5],
    /// The thing, a new one, a patch, a page.
    schemas: [&'static str; 4],
    summaries: [&'static str; 5],
    delete: &'static str,
    /// The errors of a deletion.
    delete_errors: &'static [u16],
}

const ROLES: Words = Words {
    tag: "roles",
    paths: ["/api/v1/roles", "/api/v1/roles/{name}"],
    ids: ["listRoles", "createRole", "getRole", "editRole", "deleteRole"],
    schemas: ["Role", "NewRole", "RolePatch", "RolePage"],
    summaries: ["List roles", "Make a role", "Show a role", "Edit a role", "Delete a role"],
    delete: "A role that a key has cannot be deleted: 409.",
    delete_errors: &[404, 409, 412],
};

const OWNERS: Words = Words {
    tag: "owners",
    paths: ["/api/v1/owners", "/api/v1/owners/{name}"],
    ids: ["listOwners", "createOwner", "getOwner", "editOwner", "deleteOwner"],
    schemas: ["Owner", "NewOwner", "OwnerPatch", "OwnerPage"],
    summaries: [
        "List owners",
        "Record an owner",
        "Show an owner",
        "Edit an owner",
        "Delete an owner's record",
    ],
    delete: "Its keys stay; its cap and its shared limits end.",
    delete_errors: &[404, 412],
};

pub(super) fn operations() -> Vec<Operation> {
    let mut all = of::<Role>(&ROLES);
    all.extend(of::<Owner>(&OWNERS));
    all
}

fn json_body(schema: &'static str) -> Body {
    Body { content: Content::Json(schema), presence: Presence::Required, most: MAX_BODY_BYTES }
}

fn of<G: Group + Send + 'static>(words: &Words) -> Vec<Operation> {
    let [all, one] = words.paths;
    let [list, create, show, edit, delete] = words.ids;
    let [thing, new, patch, page] = words.schemas;
    let [may_create, may_update, may_delete, may_view] = G::PERMISSIONS;
    let name = || in_path("name", "Its name.", &schema::slug());
    let patched = "A merge patch (RFC 7396). It holds for every key concerned, on its next request.";
    let operations = vec![
        Operation::get(all, list, groups::list::<G>)
            .about(words.tag, words.summaries[0], "By name.")
            .needs(may_view)
            .with([shared("limit"), shared("cursor")])
            .answers(Answer::json(200, "A page.", page)),
        Operation::post(all, create, groups::create::<G>)
            .about(words.tag, words.summaries[1], "Its name never changes.")
            .needs(may_create)
            .for_all_owners()
            .takes(json_body(new))
            .answers(Answer::json(201, "What was made.", thing).and(&["Location", "ETag"]))
            .or(&[409]),
        Operation::get(one, show, groups::show::<G>)
            .about(words.tag, words.summaries[2], "")
            .needs(may_view)
            .with([name()])
            .answers(Answer::json(200, "It as it is.", thing).and(&["ETag"]))
            .or(&[404]),
        Operation::patch(one, edit, groups::edit::<G>)
            .about(words.tag, words.summaries[3], patched)
            .needs(may_update)
            .for_all_owners()
            .with([name(), shared("ifMatch")])
            .takes(json_body(patch))
            .answers(Answer::json(200, "It as it is now.", thing).and(&["ETag"]))
            .or(&[404, 412]),
        Operation::delete(one, delete, groups::delete::<G>)
            .about(words.tag, words.summaries[4], words.delete)
            .needs(may_delete)
            .for_all_owners()
            .with([name(), shared("ifMatch")])
            .answers(Answer::new(204, "It is gone.", Content::None))
            .or(words.delete_errors),
    ];
    operations
}
