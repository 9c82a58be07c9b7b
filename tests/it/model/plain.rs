//! The contract's words on keys, roles and owners as the plainest code that follows them: no store, no index, no cache.

use std::collections::BTreeMap;

use proptest::sample::Index;
use serde_json::{Value, json};

use super::operation::{Call, Edit, Fields, Grace};

/// Versions of a key's secret that are remembered.
const REMEMBERED: usize = 16;

/// All there is.
#[derive(Debug, Default)]
pub struct Plain {
    /// Every key that was ever made, in the order of its making.
    made: Vec<Made>,
    roles: BTreeMap<&'static str, Vec<&'static str>>,
    owners: BTreeMap<&'static str, Option<u64>>,
}

#[derive(Debug)]
struct Made {
    id: String,
    fields: Fields,
    standing: Standing,
    /// Each secret, oldest first, with whether it still works.
    secrets: Vec<(String, Works)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Active,
    Disabled,
    Revoked,
    Deleted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Works {
    /// It is the newest.
    Yes,
    /// Its grace runs.
    Retiring,
    Retired,
    /// So long ago that it is unknown.
    Forgotten,
}

/// What is sent.
pub struct Request {
    pub method: &'static str,
    pub path: String,
    body: Option<Value>,
}

impl Request {
    fn new(method: &'static str, path: String, body: Option<Value>) -> Self {
        Self { method, path, body }
    }

    pub fn body(&self) -> String {
        self.body.as_ref().map_or_else(String::new, Value::to_string)
    }
}

/// What is answered: a status, and the code of a refusal.
#[derive(Debug)]
pub struct Expected {
    pub status: u16,
    pub code: &'static str,
}

const fn done(status: u16) -> Expected {
    Expected { status, code: "" }
}

const NOT_FOUND: Expected = Expected { status: 404, code: "not_found" };
const CONFLICT: Expected = Expected { status: 409, code: "conflict" };
const NO_SUCH_ROLE: Expected = Expected { status: 422, code: "validation_failed" };
const LIMIT_REACHED: Expected = Expected { status: 409, code: "key_limit_reached" };

impl Plain {
    /// The call as it is sent. `None` where it needs a key and none was ever made.
    pub fn request(&self, call: &Call) -> Option<Request> {
        let path = |key: Index, rest: &str| {
            let made = self.made.get(self.place(key)?)?;
            Some(format!("/api/v1/keys/{}{rest}", made.id))
        };
        Some(match call {
            Call::Create(fields) => Request::new("POST", "/api/v1/keys".into(), Some(fields_json(fields))),
            Call::Edit(key, edit) => Request::new("PATCH", path(*key, "")?, Some(edit_json(edit))),
            Call::Enable(key) => Request::new("POST", path(*key, "/enable")?, None),
            Call::Disable(key) => Request::new("POST", path(*key, "/disable")?, None),
            Call::Rotate(key, grace) => {
                let grace = if *grace == Grace::Hour { "1h" } else { "0s" };
                Request::new("POST", path(*key, "/rotate")?, Some(json!({"grace": grace})))
            }
            Call::Revoke(key) => {
                Request::new("POST", path(*key, "/revoke")?, Some(json!({"reason": "model"})))
            }
            Call::Delete(key) => Request::new("DELETE", path(*key, "")?, None),
            Call::PutRole(name, scopes) => {
                put("roles", name, self.roles.contains_key(name), ("scopes", json!(scopes)))
            }
            Call::DeleteRole(name) => Request::new("DELETE", format!("/api/v1/roles/{name}"), None),
            Call::PutOwner(name, cap) => {
                put("owners", name, self.owners.contains_key(name), ("max_active_keys", json!(cap)))
            }
            Call::DeleteOwner(name) => Request::new("DELETE", format!("/api/v1/owners/{name}"), None),
        })
    }

    /// What the call does and is answered. `answer` says which ID and secret were made.
    pub fn apply(&mut self, call: &Call, answer: &Value) -> Expected {
        match call {
            Call::Create(fields) => self.create(fields, answer),
            Call::Edit(key, edit) => self.edit(*key, edit),
            Call::Enable(key) => self.switch(*key, Standing::Active),
            Call::Disable(key) => self.switch(*key, Standing::Disabled),
            Call::Rotate(key, grace) => self.rotate(*key, *grace, answer),
            Call::Revoke(key) => self.end(*key, Standing::Revoked, 200),
            Call::Delete(key) => self.end(*key, Standing::Deleted, 204),
            Call::PutRole(name, scopes) => {
                done(if self.roles.insert(name, scopes.clone()).is_none() { 201 } else { 200 })
            }
            Call::DeleteRole(name) => self.delete_role(name),
            Call::PutOwner(name, cap) => {
                done(if self.owners.insert(name, *cap).is_none() { 201 } else { 200 })
            }
            Call::DeleteOwner(name) => self.owners.remove(name).map_or(NOT_FOUND, |_| done(204)),
        }
    }

    fn create(&mut self, fields: &Fields, answer: &Value) -> Expected {
        if let Err(refused) = self.may_be(None, fields, Standing::Active) {
            return refused;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let secrets = vec![(text(&answer["secret"]), Works::Yes)];
        let id = text(&answer["key"]["id"]);
        self.made.push(Made { id, fields: fields.clone(), standing: Standing::Active, secrets });
        done(201)
    }

    fn edit(&mut self, key: Index, edit: &Edit) -> Expected {
        let Some(place) = self.living(key) else { return NOT_FOUND };
        let mut fields = self.made[place].fields.clone();
        match edit.clone() {
            Edit::Name(name) => fields.name = name,
            Edit::Owner(owner) => fields.owner = owner,
            Edit::Role(role) => fields.role = role,
            Edit::Scopes(scopes) => fields.scopes = scopes,
            Edit::Tags(tags) => fields.tags = tags,
        }
        if let Err(refused) = self.may_be(Some(place), &fields, self.made[place].standing) {
            return refused;
        }
        self.made[place].fields = fields;
        done(200)
    }

    fn switch(&mut self, key: Index, to: Standing) -> Expected {
        let Some(place) = self.living(key) else { return NOT_FOUND };
        let made = &self.made[place];
        if made.standing == Standing::Revoked {
            return CONFLICT;
        }
        if let Err(refused) = self.may_be(Some(place), &made.fields, to) {
            return refused;
        }
        self.made[place].standing = to;
        done(200)
    }

    fn rotate(&mut self, key: Index, grace: Grace, answer: &Value) -> Expected {
        let Some(place) = self.living(key) else { return NOT_FOUND };
        let made = &mut self.made[place];
        if made.standing == Standing::Revoked {
            return CONFLICT;
        }
        for (_, works) in &mut made.secrets {
            *works = match (*works, grace) {
                // One that is still in an earlier grace keeps it.
                (Works::Yes | Works::Retiring, Grace::Hour) => Works::Retiring,
                (Works::Yes | Works::Retiring, Grace::None) => Works::Retired,
                (ended, _) => ended,
            };
        }
        let secret = answer["secret"].as_str().unwrap_or_default().to_owned();
        made.secrets.push((secret, Works::Yes));
        let forgotten = made.secrets.len().saturating_sub(REMEMBERED);
        made.secrets[..forgotten].iter_mut().for_each(|(_, works)| *works = Works::Forgotten);
        done(200)
    }

    fn end(&mut self, key: Index, to: Standing, status: u16) -> Expected {
        let Some(place) = self.living(key) else { return NOT_FOUND };
        self.made[place].standing = to;
        done(status)
    }

    fn delete_role(&mut self, name: &str) -> Expected {
        if !self.roles.contains_key(name) {
            return NOT_FOUND;
        }
        let has = |made: &Made| made.standing != Standing::Deleted && made.fields.role == Some(name);
        if self.made.iter().any(has) {
            return CONFLICT;
        }
        self.roles.remove(name);
        done(204)
    }

    /// Whether the key at this place, or a new one, may have these fields and this standing.
    fn may_be(&self, place: Option<usize>, after: &Fields, standing: Standing) -> Result<(), Expected> {
        if after.role.is_some_and(|role| !self.roles.contains_key(role)) {
            return Err(NO_SUCH_ROLE);
        }
        let Some(cap) = after.owner.and_then(|owner| self.owners.get(owner).copied().flatten()) else {
            return Ok(());
        };
        let counted = |made: &Made| made.standing == Standing::Active && made.fields.owner == after.owner;
        let already = place.is_some_and(|place| counted(&self.made[place]));
        let others = self.made.iter().filter(|made| counted(made)).count() as u64;
        if standing == Standing::Active && !already && others >= cap {
            return Err(LIMIT_REACHED);
        }
        Ok(())
    }

    fn place(&self, key: Index) -> Option<usize> {
        (!self.made.is_empty()).then(|| key.index(self.made.len()))
    }

    fn living(&self, key: Index) -> Option<usize> {
        self.place(key).filter(|place| self.made[*place].standing != Standing::Deleted)
    }

    /// The facts of every key, newest first.
    pub fn keys(&self) -> Vec<Value> {
        let living = self.made.iter().rev().filter(|made| made.standing != Standing::Deleted);
        living.map(Made::facts).collect()
    }

    /// The facts of every role, by name.
    pub fn roles(&self) -> Vec<Value> {
        self.roles.iter().map(|(name, scopes)| json!({"name": name, "scopes": scopes})).collect()
    }

    /// The facts of every owner, by name.
    pub fn owners(&self) -> Vec<Value> {
        self.owners.iter().map(|(name, cap)| json!({"name": name, "max_active_keys": cap})).collect()
    }

    /// Every secret that was ever made, and the codes that the open and the scoped route answer it with.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, [&'static str; 2])> {
        self.made.iter().flat_map(move |made| {
            let answers = move |works| self.answers(made, works);
            made.secrets.iter().map(move |(secret, works)| (secret.as_str(), answers(*works)))
        })
    }

    fn answers(&self, made: &Made, works: Works) -> [&'static str; 2] {
        let both = |code| [code, code];
        match (made.standing, works) {
            (Standing::Deleted, _) | (_, Works::Forgotten) => both("invalid_key"),
            (Standing::Revoked, _) => both("key_revoked"),
            (Standing::Disabled, _) => both("key_disabled"),
            (Standing::Active, Works::Retired) => both("secret_retired"),
            (Standing::Active, Works::Yes | Works::Retiring) => {
                let by_role = made.fields.role.and_then(|role| self.roles.get(role));
                let mut scopes = made.fields.scopes.iter().chain(by_role.into_iter().flatten());
                let may_read = scopes.any(|scope| ["models:read", "models:*"].contains(scope));
                ["", if may_read { "" } else { "insufficient_scope" }]
            }
        }
    }
}

impl Made {
    fn facts(&self) -> Value {
        let status = match self.standing {
            Standing::Active => "active",
            Standing::Disabled => "disabled",
            Standing::Revoked => "revoked",
            Standing::Deleted => "deleted",
        };
        let states: Vec<&str> = self.secrets.iter().filter_map(|(_, works)| works.state()).collect();
        let Fields { name, owner, role, scopes, tags } = &self.fields;
        json!({
            "id": self.id, "name": name, "owner": owner, "role": role, "scopes": scopes, "tags": tags,
            "status": status, "states": states,
        })
    }
}

impl Works {
    fn state(self) -> Option<&'static str> {
        match self {
            Self::Yes => Some("active"),
            Self::Retiring => Some("retiring"),
            Self::Retired => Some("retired"),
            Self::Forgotten => None,
        }
    }
}

fn put(list: &str, name: &str, there: bool, (field, value): (&str, Value)) -> Request {
    if there {
        return Request::new("PATCH", format!("/api/v1/{list}/{name}"), Some(json!({field: value})));
    }
    Request::new("POST", format!("/api/v1/{list}"), Some(json!({"name": name, field: value})))
}

fn fields_json(fields: &Fields) -> Value {
    let Fields { name, owner, role, scopes, tags } = fields;
    json!({"name": name, "owner": owner, "role": role, "scopes": scopes, "tags": tags})
}

fn edit_json(edit: &Edit) -> Value {
    match edit {
        Edit::Name(name) => json!({"name": name}),
        Edit::Owner(owner) => json!({"owner": owner}),
        Edit::Role(role) => json!({"role": role}),
        Edit::Scopes(scopes) => json!({"scopes": scopes}),
        Edit::Tags(tags) => json!({"tags": tags}),
    }
}

/// What a key's record says of what the model knows.
pub fn key_facts(key: &Value) -> Value {
    let mut states: Vec<(u64, &str)> = Vec::new();
    for version in key["versions"].as_array().unwrap() {
        states.push((version["version"].as_u64().unwrap(), version["state"].as_str().unwrap()));
    }
    states.sort_unstable();
    let states: Vec<&str> = states.into_iter().map(|(_, state)| state).collect();
    json!({
        "id": key["id"], "name": key["name"], "owner": key["owner"], "role": key["role"], "scopes": key["scopes"],
        "tags": key["tags"], "status": key["status"], "states": states,
    })
}

/// What a role's record says of what the model knows.
pub fn role_facts(role: &Value) -> Value {
    json!({"name": role["name"], "scopes": role["scopes"]})
}

/// What an owner's record says of what the model knows.
pub fn owner_facts(owner: &Value) -> Value {
    json!({"name": owner["name"], "max_active_keys": owner["max_active_keys"]})
}
