//! When a secret is old enough to be rotated: a duration, or one for each environment.

use std::collections::BTreeMap;
use std::time::Duration;

/// After how long a rotation is due. `None` is never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotateAfter {
    /// For environments that are not named.
    pub default: Option<Duration>,
    /// By the environment's name.
    pub environments: BTreeMap<String, Option<Duration>>,
}

impl RotateAfter {
    /// The same for every environment.
    pub const fn everywhere(after: Option<Duration>) -> Self {
        Self { default: after, environments: BTreeMap::new() }
    }

    /// What holds for this environment.
    pub fn of(&self, environment: &str) -> Option<Duration> {
        self.environments.get(environment).copied().unwrap_or(self.default)
    }
}
