//! Folders for other programs: nothing of anybody else's is lost, and they appear whole.

use std::fs;
use std::path::Path;

use bayeslora::low_level::formats::{Bundle, FormatError};
use serde_json::json;

fn write(dir: &Path, files: &[(&'static str, &str)]) -> Result<(), FormatError> {
    let mut bundle = Bundle::default();
    for (name, text) in files {
        bundle.put(name, text.as_bytes().to_vec());
    }
    bundle.write(dir, json!({ "run": "here" }))
}

fn entries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn refused(dir: &Path, says: &str) {
    let before = entries(dir);
    for error in [Bundle::require_free(dir), write(dir, &[("c", "3")])] {
        let error = error.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(entries(dir), before);
}

#[test]
fn an_export_replaces_an_earlier_one_and_nothing_else() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("deep/out");
    write(&dir, &[("a", "1"), ("b", "2")]).unwrap();
    assert_eq!(entries(&dir), ["a", "b", "export.json"]);
    // Of another format too, whose files take the place of those.
    write(&dir, &[("b", "3"), ("c", "4")]).unwrap();
    assert_eq!(entries(&dir), ["b", "c", "export.json"]);
    assert_eq!(fs::read_to_string(dir.join("b")).unwrap(), "3");
    assert_eq!(entries(dir.parent().unwrap()), ["out"]);

    fs::write(dir.join("notes.md"), "mine").unwrap();
    refused(&dir, "`notes.md`");
    fs::remove_file(dir.join("notes.md")).unwrap();
    fs::write(dir.join("b"), "3 and mine").unwrap();
    refused(&dir, "it is not what was exported");
    fs::remove_file(dir.join("b")).unwrap();
    fs::create_dir(dir.join("b")).unwrap();
    refused(&dir, "`b`");
}

#[test]
fn what_is_no_export_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("out");
    fs::create_dir(&dir).unwrap();
    Bundle::require_free(&dir).unwrap();
    fs::write(dir.join("model.onnx"), "mine").unwrap();
    refused(&dir, "`model.onnx`");
    // A list alone that says nothing of it, or none at all, makes it no export.
    fs::write(dir.join("export.json"), "{}").unwrap();
    refused(&dir, "export.json");

    let file = parent.path().join("file");
    fs::write(&file, "mine").unwrap();
    let error = write(&file, &[]).unwrap_err();
    assert!(
        matches!(error, FormatError::NotADirectory { .. }),
        "{error}"
    );

    // The two names beside it that are used on the way.
    let other = parent.path().join("other");
    for extension in ["partial", "old"] {
        let beside = parent.path().join(format!("other.{extension}"));
        fs::create_dir(&beside).unwrap();
        fs::write(beside.join("thesis.tex"), "mine").unwrap();
        let error = write(&other, &[("a", "1")]).unwrap_err();
        assert!(error.to_string().contains("`thesis.tex`"), "{error}");
        assert!(beside.join("thesis.tex").exists() && !other.exists());
        fs::remove_dir_all(beside).unwrap();
    }
    // What an interrupted export has left is cleared away.
    let partial = parent.path().join("other.partial");
    write(&partial, &[("a", "1")]).unwrap();
    fs::remove_file(partial.join("a")).unwrap();
    write(&other, &[("b", "2")]).unwrap();
    assert_eq!(entries(&other), ["b", "export.json"]);
    assert!(!partial.exists());
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_folders_that_cannot_be_written_are_named() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let parent = tempfile::tempdir().unwrap();
    let (dir, link) = (parent.path().join("dir"), parent.path().join("link"));
    symlink(&dir, &link).unwrap();
    let error = write(&link, &[("a", "1")]).unwrap_err();
    assert!(
        error.to_string().contains("where this link leads"),
        "{error}"
    );
    fs::create_dir(&dir).unwrap();
    write(&link, &[("a", "1")]).unwrap();
    assert!(link.is_symlink());
    assert_eq!(entries(&dir), ["a", "export.json"]);

    let closed = parent.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write anywhere.
    if fs::write(closed.join("probe"), "").is_err() {
        let error = write(&closed.join("out"), &[("a", "1")]).unwrap_err();
        assert!(matches!(error, FormatError::Io { .. }), "{error}");
        assert!(entries(&closed).is_empty());
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
}
