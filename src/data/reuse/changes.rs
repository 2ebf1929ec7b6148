//! What has become of a run's images.

use std::fmt;

use super::error::listed;

/// Paths below the set's directory of images that are not what they were when the run was trained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Not there any more, by content and class.
    pub removed: Vec<String>,
    /// There, with another content.
    pub changed: Vec<String>,
    /// Not there before.
    pub added: Vec<String>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.changed.is_empty() && self.added.is_empty()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        const NAMED: usize = 3;
        let kinds = [
            ("removed", &self.removed),
            ("changed", &self.changed),
            ("added", &self.added),
        ];
        let kinds = kinds.into_iter().filter(|(_, paths)| !paths.is_empty());
        let said = kinds.map(|(kind, paths)| {
            let (count, named) = (paths.len(), listed(paths, NAMED));
            format!("{count} {kind} ({named})")
        });
        f.write_str(&said.collect::<Vec<_>>().join(", "))
    }
}
