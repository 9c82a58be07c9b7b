//! Where a route's clients may put their credential: `"bearer"`, `"header:NAME"`, `"query:NAME"`.

use super::CredentialPlace;
use super::headers::credential_header;
use super::sections::refuse_empty;
use crate::document::{Fields, string};

/// Places of one route at most.
const MAX_PLACES: usize = 8;
/// The longest name of a query parameter, in bytes.
const MAX_QUERY_NAME_BYTES: usize = 64;

/// Reads the list `credential`; `bearer` alone where it is absent.
pub fn places(fields: &mut Fields<'_>) -> Vec<CredentialPlace> {
    let mut seen = Vec::new();
    let places = fields.values("credential", MAX_PLACES, |value| {
        let place = place(string(value)?)?;
        if seen.contains(&place) {
            return Err("is listed twice".into());
        }
        seen.push(place.clone());
        Ok(place)
    });
    refuse_empty(fields, "credential", "must have at least one place");
    places.unwrap_or_else(|| vec![CredentialPlace::Bearer])
}

fn place(text: &str) -> Result<CredentialPlace, String> {
    if let Some(name) = text.strip_prefix("header:") {
        return credential_header(name).map(CredentialPlace::Header);
    }
    match text.strip_prefix("query:") {
        Some(name) if is_query_name(name) => Ok(CredentialPlace::Query(name.to_owned())),
        Some(_) => Err(format!(
            "a query parameter's name must be 1 to {MAX_QUERY_NAME_BYTES} characters of A-Z, a-z, 0-9, `_`, `.` and `-`"
        )),
        None if text == "bearer" => Ok(CredentialPlace::Bearer),
        None => Err("must be \"bearer\", \"header:NAME\" or \"query:NAME\"".into()),
    }
}

/// Names that no client needs to escape, so that there is one way to write each.
fn is_query_name(name: &str) -> bool {
    (1..=MAX_QUERY_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Faults;
    use serde_json::{Value, json};

    fn read(list: &Value) -> (Vec<CredentialPlace>, Vec<String>) {
        let document = json!({"credential": list});
        let mut faults = Faults::default();
        let places = places(&mut Fields::open(&document, "", &mut faults).unwrap());
        (places, faults.iter().map(|f| f.pointer.clone()).collect())
    }

    #[test]
    fn places_read_in_their_order() {
        let (places, faults) = read(&json!(["header:X-Api-Key", "query:api_key", "bearer"]));
        assert!(faults.is_empty());
        let expected = [
            CredentialPlace::Header("x-api-key".parse().unwrap()),
            CredentialPlace::Query("api_key".into()),
            CredentialPlace::Bearer,
        ];
        assert_eq!(places, expected);
        assert_eq!(read(&Value::Null).0, [CredentialPlace::Bearer]);
    }

    #[test]
    fn what_is_no_place_is_a_fault() {
        let long = format!("query:{}", "a".repeat(65));
        for bad in [
            "",
            "Bearer",
            "basic",
            "header:",
            "header:host",
            "header:authorization",
            "query:",
            "query:a b",
            "query:a%20",
            "query:ä",
            &long,
        ] {
            assert_eq!(read(&json!(["bearer", bad])).1, ["/credential/1"], "{bad}");
        }
        assert_eq!(read(&json!([])).1, ["/credential"]);
        assert_eq!(read(&json!("bearer")).1, ["/credential"]);
        assert_eq!(read(&json!(["header:a-b", "header:A-B"])).1, ["/credential/1"]);
        let nine: Vec<_> = (0..9).map(|i| format!("query:q{i}")).collect();
        assert_eq!(read(&json!(nine)).1, ["/credential"]);
    }
}
