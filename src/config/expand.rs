//! `${NAME}` in the configuration's texts: the environment's variable of that name.
//!
//! `$${` stands for a literal `${`; a lone `$` is itself. What a variable holds is not expanded again. A fault names
//! variables and never says what they hold.

/// What looks a variable of the environment up.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The longest text that variables may make, in bytes.
pub const MAX_EXPANDED_BYTES: usize = 64 * 1024;
/// The longest name of a variable, in bytes.
pub const MAX_VARIABLE_BYTES: usize = 128;

/// Puts the environment's variables into `text`.
///
/// # Errors
/// A detail for a [`crate::document::Fault`].
pub fn expand(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut missing = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(literal) = after.strip_prefix("${") {
            out.push_str("${");
            rest = literal;
        } else if let Some(named) = after.strip_prefix('{') {
            let (name, tail) =
                named.split_once('}').filter(|(name, _)| is_variable_name(name)).ok_or_else(bad_name)?;
            match environment(name) {
                Some(value) => out.push_str(&value),
                None if missing.contains(&name) => {}
                None => missing.push(name),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
        if out.len() > MAX_EXPANDED_BYTES {
            return Err(format!("is longer than {MAX_EXPANDED_BYTES} bytes with its variables"));
        }
    }
    out.push_str(rest);
    if missing.is_empty() { Ok(out) } else { Err(not_set(&missing)) }
}

/// `[A-Za-z_][A-Za-z0-9_]*`, as POSIX has it.
pub fn is_variable_name(name: &str) -> bool {
    name.len() <= MAX_VARIABLE_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn bad_name() -> String {
    "`${` must be followed by the name of an environment variable and `}`; `$${` stands for a literal `${`"
        .into()
}

/// At most this many missing variables are named in one fault.
const MAX_NAMED: usize = 10;

fn not_set(names: &[&str]) -> String {
    let named = names.iter().take(MAX_NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len() {
        1 => format!("the environment variable {named} is not set"),
        _ => format!("the environment variables {named} are not set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_variables(text: &str) -> Result<String, String> {
        expand(text, &|name| match name {
            "A" => Some("alpha".into()),
            "NESTED" => Some("${A}".into()),
            "EMPTY" => Some(String::new()),
            "BIG" => Some("x".repeat(40_000)),
            _ => None,
        })
    }

    #[test]
    fn variables_are_put_in_and_escapes_taken_out() {
        let cases = [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "alpha"),
            ("Bearer ${A}!${A}", "Bearer alpha!alpha"),
            ("${NESTED}", "${A}"),
            ("<${EMPTY}>", "<>"),
            ("$${A}", "${A}"),
            ("$${", "${"),
            ("$A", "$A"),
            ("cost: 5$", "cost: 5$"),
            ("$$", "$$"),
            ("ä$ö${A}", "ä$öalpha"),
        ];
        for (text, expected) in cases {
            assert_eq!(with_variables(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn missing_variables_are_named_once_and_together() {
        assert_eq!(with_variables("${NO}"), Err("the environment variable `NO` is not set".into()));
        assert_eq!(
            with_variables("${NO} ${A} ${NO} ${NEITHER}"),
            Err("the environment variables `NO`, `NEITHER` are not set".into())
        );
    }

    #[test]
    fn what_names_no_variable_is_refused_and_not_repeated() {
        for bad in ["${", "${A", "${}", "${1A}", "${A-B}", "${ A}", "${hunter 2}"] {
            assert_eq!(with_variables(bad), Err(bad_name()), "{bad}");
        }
        assert!(with_variables(&format!("${{{}}}", "A".repeat(MAX_VARIABLE_BYTES + 1))).is_err());
    }

    #[test]
    fn the_result_is_bounded() {
        assert!(with_variables("${BIG}").is_ok());
        assert!(with_variables("${BIG}${BIG}").is_err());
    }
}
