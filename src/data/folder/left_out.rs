//! What of a folder is not read, counted.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::entries::{Entries, extension};
use crate::formats::printable;

/// How many there are, and one to look at.
#[derive(Default)]
struct Tally {
    count: usize,
    first: Option<PathBuf>,
}

impl Tally {
    fn add<'a>(&mut self, paths: impl IntoIterator<Item = &'a PathBuf>) {
        for path in paths {
            self.count += 1;
            self.first.get_or_insert_with(|| path.clone());
        }
    }

    /// "3 images `what` (PATH and so on)"
    fn note(&self, one: &str, many: &str, what: &str) -> Option<String> {
        let first = printable(self.first.as_ref()?.display());
        Some(match self.count {
            1 => format!("1 {one} {what} ({first})"),
            count => format!("{count} {many} {what} ({first} and so on)"),
        })
    }
}

/// Entries of folders that give no images.
#[derive(Default)]
pub struct LeftOut {
    /// By extension.
    unread: BTreeMap<String, usize>,
    beside: Tally,
    deeper: Tally,
    dangling: Tally,
    special: Tally,
    closed: Tally,
}

impl LeftOut {
    /// Images beside class folders.
    pub fn add_beside(&mut self, images: &[PathBuf]) {
        self.beside.add(images);
    }

    /// What a folder has besides its images; `seen` keeps from counting a deeper folder twice, which
    /// links can lead to again and again.
    pub fn add(&mut self, entries: &Entries, seen: &mut HashSet<PathBuf>) {
        self.add_unread(entries);
        let mut deeper = entries.folders.clone();
        while let Some(dir) = deeper.pop() {
            if !dir.canonicalize().is_ok_and(|real| seen.insert(real)) {
                continue;
            }
            match Entries::read(&dir) {
                Ok(entries) => {
                    self.deeper.add(&entries.images);
                    self.add_unread(&entries);
                    deeper.extend(entries.folders);
                }
                Err(_) => self.closed.add([&dir]),
            }
        }
    }

    pub fn add_unread(&mut self, entries: &Entries) {
        for path in &entries.unread {
            *self.unread.entry(extension(path)).or_default() += 1;
        }
        self.dangling.add(&entries.dangling);
        self.special.add(&entries.special);
    }

    /// One line for each kind.
    pub fn notes(&self, dir: &Path) -> Vec<String> {
        let unread = (!self.unread.is_empty()).then(|| {
            let count: usize = self.unread.values().sum();
            let (files, convert) = match count {
                1 => ("file is a picture in a format that is", "it"),
                _ => ("files are pictures in formats that are", "them"),
            };
            let kinds = unread_kinds(&self.unread);
            format!("{count} {files} not read ({kinds}); convert {convert} to JPEG or PNG")
        });
        let notes = [
            unread,
            self.beside
                .note("image", "images", "beside the class folders: left out"),
            self.deeper
                .note("image", "images", "in deeper folders: left out"),
            self.dangling
                .note("link", "links", "to what is not there: left out"),
            self.special
                .note("entry", "entries", "that no file is behind: left out"),
            self.closed.note(
                "deeper folder",
                "deeper folders",
                "that cannot be read: left out",
            ),
        ];
        let notes = notes.into_iter().flatten();
        notes
            .map(|note| format!("{}: {note}", printable(dir.display())))
            .collect()
    }
}

/// "heic 10, cr2 2", the most frequent first.
fn unread_kinds(unread: &BTreeMap<String, usize>) -> String {
    let mut kinds: Vec<_> = unread.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let kinds: Vec<_> = kinds
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    kinds.join(", ")
}
