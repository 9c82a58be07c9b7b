//! What the command line says of a key, as the document that the admin API takes.
//!
//! Only the forms that the command line adds are read here (`minute=600/1m`); what may stand in a field is the
//! gateway's to say, which names every fault at once.

use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::key::quota::Window;
use crate::quantity;

/// The fields of a key that can be set
#[derive(Debug, clap::Args)]
pub(super) struct Profile {
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The organization, team or customer that it belongs to
    #[arg(long, value_name = "SLUG")]
    owner: Option<String>,
    /// A tag (may be repeated)
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// A text kept with the key (may be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// The role that gives it scopes and limits
    #[arg(long, value_name = "SLUG")]
    role: Option<String>,
    /// A scope, such as models:read or models:* (may be repeated)
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// An address or network that it may be used from; none: anywhere (may be repeated)
    #[arg(long, value_name = "CIDR")]
    ip_allow: Vec<String>,
    /// A rate limit, such as minute=600/1m or second=10/1s:burst=20 (may be repeated)
    #[arg(long, value_name = "NAME=REQUESTS/WINDOW[:burst=N]", value_parser = limit)]
    limit: Vec<Value>,
    /// A quota of a calendar window in UTC, such as monthly=1000000/month (may be repeated)
    #[arg(long, value_name = "NAME=REQUESTS/day|week|month", value_parser = quota)]
    quota: Vec<Value>,
    /// How many of its requests may run at once
    #[arg(long, value_name = "N")]
    max_concurrent: Option<u32>,
    /// When it ends, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "RFC3339", value_parser = time)]
    expires_at: Option<Timestamp>,
    /// When it ends, from now, such as 90d
    #[arg(long, value_name = "DURATION", value_parser = quantity::parse_duration, conflicts_with = "expires_at")]
    expires_in: Option<Duration>,
}

impl Profile {
    /// Whether the same flags mean something else at another time.
    pub(super) fn hangs_on_the_time(&self) -> bool {
        self.expires_in.is_some()
    }

    /// The fields that were named, and no others.
    pub(super) fn document(&self, now: Timestamp) -> Map<String, Value> {
        let listed = |items: &[String]| (!items.is_empty()).then(|| json!(items));
        let values = |items: &[Value]| (!items.is_empty()).then(|| json!(items));
        let metadata: Map<_, _> =
            self.metadata.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let expires_at = self.expires_at.or_else(|| Some(now.plus(self.expires_in?)));
        let fields = [
            ("name", self.name.as_ref().map(|text| json!(text))),
            ("description", self.description.as_ref().map(|text| json!(text))),
            ("owner", self.owner.as_ref().map(|text| json!(text))),
            ("tags", listed(&self.tag)),
            ("metadata", (!metadata.is_empty()).then_some(Value::Object(metadata))),
            ("role", self.role.as_ref().map(|text| json!(text))),
            ("scopes", listed(&self.scope)),
            ("ip_allow", listed(&self.ip_allow)),
            ("limits", values(&self.limit)),
            ("quotas", values(&self.quota)),
            ("max_concurrent", self.max_concurrent.map(|most| json!(most))),
            ("expires_at", expires_at.map(|at| json!(at.to_string()))),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// A field that is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cleared {
    /// The whole field.
    Field(&'static str),
    /// One entry of the metadata.
    Metadata(String),
}

/// What can be cleared, by the field's name and the flag's.
const CLEARABLE: [(&str, &str); 11] = [
    ("description", "description"),
    ("owner", "owner"),
    ("tags", "tag"),
    ("metadata", "metadata"),
    ("role", "role"),
    ("scopes", "scope"),
    ("ip_allow", "ip-allow"),
    ("limits", "limit"),
    ("quotas", "quota"),
    ("max_concurrent", "max-concurrent"),
    ("expires_at", "expires-at"),
];

impl FromStr for Cleared {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(key) = text.strip_prefix("metadata.").filter(|key| !key.is_empty()) {
            return Ok(Self::Metadata(key.to_owned()));
        }
        let found = CLEARABLE.iter().find(|(field, flag)| text == *field || text == *flag);
        found.map(|(field, _)| Self::Field(field)).ok_or_else(|| {
            let names: Vec<&str> = CLEARABLE.iter().map(|(field, _)| *field).collect();
            format!("must be one of {}, or metadata.KEY", names.join(", "))
        })
    }
}

impl Cleared {
    /// Puts a null into the patch.
    ///
    /// # Errors
    /// The patch sets the same field.
    pub(super) fn put(&self, patch: &mut Map<String, Value>) -> Result<(), String> {
        let (fields, name) = match self {
            Self::Field(name) => (patch, (*name).to_owned()),
            Self::Metadata(key) => match patch.entry("metadata").or_insert_with(|| json!({})) {
                Value::Object(metadata) => (metadata, key.clone()),
                _ => return Err("metadata is cleared as a whole already".into()),
            },
        };
        match fields.insert(name.clone(), Value::Null) {
            Some(value) if !value.is_null() => Err(format!("{name} is both set and cleared")),
            _ => Ok(()),
        }
    }
}

/// `NAME=REQUESTS/WINDOW[:burst=N]`
pub(in crate::cli) fn limit(text: &str) -> Result<Value, String> {
    let form = || "must be NAME=REQUESTS/WINDOW, such as minute=600/1m or second=10/1s:burst=20".to_owned();
    let (name, rest) = text.split_once('=').ok_or_else(form)?;
    let (rate, burst) = match rest.split_once(':') {
        None => (rest, None),
        Some((rate, burst)) => (rate, Some(burst.strip_prefix("burst=").ok_or_else(form)?)),
    };
    let (requests, window) = rate.split_once('/').ok_or_else(form)?;
    quantity::parse_duration(window).map_err(|why| format!("the window {why}"))?;
    let mut limit = json!({"name": name, "requests": count(requests)?, "window": window});
    if let Some(burst) = burst {
        limit["burst"] = count(burst)?.into();
    }
    Ok(limit)
}

/// `NAME=REQUESTS/WINDOW`
pub(super) fn quota(text: &str) -> Result<Value, String> {
    let form = || "must be NAME=REQUESTS/WINDOW, such as monthly=1000000/month".to_owned();
    let (name, rest) = text.split_once('=').ok_or_else(form)?;
    let (requests, window) = rest.split_once('/').ok_or_else(form)?;
    let window = Window::parse(window).ok_or("the window must be day, week or month")?;
    Ok(json!({"name": name, "requests": count(requests)?, "window": window.as_str()}))
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "the number of requests must be a whole number".into())
}

/// `KEY=VALUE`
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".into()),
    }
}

/// An RFC 3339 time.
pub(in crate::cli) fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| "must be an RFC 3339 time, such as 2027-01-31T00:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        profile: Profile,
    }

    fn document(words: &[&str]) -> Result<Value, String> {
        let line =
            Line::try_parse_from(std::iter::once(&"x").chain(words)).map_err(|error| error.to_string())?;
        let now = Timestamp::parse_rfc3339("2026-11-21T13:00:00Z").unwrap();
        Ok(line.profile.document(now).into())
    }

    #[test]
    fn limits_read_with_and_without_a_burst() {
        assert_eq!(limit("minute=600/1m"), Ok(json!({"name": "minute", "requests": 600, "window": "1m"})));
        let burst = json!({"name": "s", "requests": 10, "window": "1s", "burst": 20});
        assert_eq!(limit("s=10/1s:burst=20"), Ok(burst));
        for bad in
            ["", "600/1m", "m=600", "m=x/1m", "m=600/soon", "m=600/1m:20", "m=600/1m:burst=x", "m=-1/1m"]
        {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quotas_have_calendar_windows() {
        assert_eq!(quota("m=5/month"), Ok(json!({"name": "m", "requests": 5, "window": "month"})));
        for bad in ["", "m=5", "5/month", "m=5/year", "m=five/day", "m=5/1m"] {
            assert!(quota(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata_is_split_at_the_first_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }

    #[test]
    fn only_what_was_named_is_in_the_document() {
        assert_eq!(document(&[]), Ok(json!({})));
        let words = ["--name", "ci", "--tag", "a", "--tag", "b", "--metadata", "k=v", "--expires-in", "90d"];
        let expected = json!({
            "name": "ci", "tags": ["a", "b"], "metadata": {"k": "v"}, "expires_at": "2027-02-19T13:00:00Z",
        });
        assert_eq!(document(&words), Ok(expected));
    }

    #[test]
    fn an_end_is_given_in_one_way() {
        let words = ["--expires-in", "90d", "--expires-at", "2027-01-31T00:00:00Z"];
        assert!(document(&words).unwrap_err().contains("cannot be used with"));
        for bad in [["--expires-in", "soon"], ["--expires-at", "tomorrow"]] {
            assert!(document(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn fields_are_cleared_by_either_name() {
        for text in ["ip_allow", "ip-allow"] {
            assert_eq!(text.parse(), Ok(Cleared::Field("ip_allow")));
        }
        assert_eq!("metadata.a.b".parse(), Ok(Cleared::Metadata("a.b".into())));
        assert!("colour".parse::<Cleared>().is_err());
        let mut patch = Map::new();
        for cleared in [Cleared::Field("owner"), Cleared::Metadata("a".into())] {
            cleared.put(&mut patch).unwrap();
        }
        assert_eq!(Value::Object(patch), json!({"owner": null, "metadata": {"a": null}}));
    }

    #[test]
    fn a_field_is_not_set_and_cleared_at_once() {
        let mut patch = Map::from_iter([("owner".to_owned(), json!("acme"))]);
        assert!(Cleared::Field("owner").put(&mut patch).is_err());
    }
}
