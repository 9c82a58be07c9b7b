//! What an operator may do, in any order.

use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

pub const ROLES: [&str; 2] = ["reader", "writer"];
pub const OWNERS: [&str; 3] = ["acme", "globex", "initech"];
const SCOPES: [&str; 4] = ["models:read", "models:*", "files:read", "files:write"];
const TAGS: [&str; 3] = ["blue", "green", "red"];

/// One step of a sequence.
#[derive(Debug, Clone)]
pub enum Operation {
    /// A call of the admin API.
    Call(Call),
    /// SIGTERM, and a new start.
    Restart,
    /// `kill -9`, and a new start.
    Kill,
}

/// A call of the admin API. A key is named by its place among those that were ever made.
#[derive(Debug, Clone)]
pub enum Call {
    Create(Fields),
    Edit(Index, Edit),
    Enable(Index),
    Disable(Index),
    Rotate(Index, Grace),
    Revoke(Index),
    Delete(Index),
    PutRole(&'static str, Vec<&'static str>),
    DeleteRole(&'static str),
    PutOwner(&'static str, Option<u64>),
    DeleteOwner(&'static str),
}

/// What a key is made with.
#[derive(Debug, Clone)]
pub struct Fields {
    pub name: String,
    pub owner: Option<&'static str>,
    pub role: Option<&'static str>,
    pub scopes: Vec<&'static str>,
    pub tags: Vec<&'static str>,
}

/// What is edited of a key.
#[derive(Debug, Clone)]
pub enum Edit {
    Name(String),
    Owner(Option<&'static str>),
    Role(Option<&'static str>),
    Scopes(Vec<&'static str>),
    Tags(Vec<&'static str>),
}

/// How long a rotation's old secret works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    None,
    Hour,
}

/// Any operation; those that need keys are worth more once there are some, and most sequences make several.
pub fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        30 => call().prop_map(Operation::Call),
        1 => Just(Operation::Restart),
        1 => Just(Operation::Kill),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let key = any::<Index>;
    let grace = select(vec![Grace::None, Grace::Hour]);
    prop_oneof![
        8 => fields().prop_map(Call::Create),
        6 => (key(), edit()).prop_map(|(key, edit)| Call::Edit(key, edit)),
        2 => key().prop_map(Call::Enable),
        3 => key().prop_map(Call::Disable),
        4 => (key(), grace).prop_map(|(key, grace)| Call::Rotate(key, grace)),
        1 => key().prop_map(Call::Revoke),
        1 => key().prop_map(Call::Delete),
        4 => (select(&ROLES[..]), some_of(&SCOPES)).prop_map(|(role, scopes)| Call::PutRole(role, scopes)),
        1 => select(&ROLES[..]).prop_map(Call::DeleteRole),
        4 => (select(&OWNERS[..]), option::of(1..3_u64)).prop_map(|(owner, cap)| Call::PutOwner(owner, cap)),
        1 => select(&OWNERS[..]).prop_map(Call::DeleteOwner),
    ]
}

fn fields() -> impl Strategy<Value = Fields> {
    let (owner, role) = (option::of(select(&OWNERS[..])), option::of(select(&ROLES[..])));
    (name(), owner, role, some_of(&SCOPES), some_of(&TAGS))
        .prop_map(|(name, owner, role, scopes, tags)| Fields { name, owner, role, scopes, tags })
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        name().prop_map(Edit::Name),
        option::of(select(&OWNERS[..])).prop_map(Edit::Owner),
        option::of(select(&ROLES[..])).prop_map(Edit::Role),
        some_of(&SCOPES).prop_map(Edit::Scopes),
        some_of(&TAGS).prop_map(Edit::Tags),
    ]
}

/// A name of letters, blanks, quotes and what is not ASCII.
fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9\"'=,;äß漢🔑][a-zA-Z0-9 \"'=,;äß漢🔑]{0,20}[a-zA-Z0-9äß漢🔑]"
}

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(all.to_vec(), 0..=all.len())
}
