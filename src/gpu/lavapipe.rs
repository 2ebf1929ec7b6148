//! Which version of Mesa's software Vulkan driver will be loaded, before it is: what it reads from the environment
//! must be chosen by then.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use memchr::memmem;
use serde_json::Value;

/// Major and minor version, as in 22.3.
pub type MesaVersion = (u32, u32);

/// The version of the driver whose manifest the Vulkan loader finds first; `None` where none is found, or it does not
/// say.
pub fn version() -> Option<MesaVersion> {
    let manifest = manifests().into_iter().find(|path| is_lavapipes(path))?;
    version_in(&read(&library(&manifest)?, 1 << 30)?)
}

/// A regular file of at most so many bytes: whatever else is named there may never end.
fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    let found = fs::metadata(path).ok()?;
    let sound = found.is_file() && found.len() <= most;
    sound.then(|| fs::read(path).ok()).flatten()
}

fn is_lavapipes(manifest: &Path) -> bool {
    let name = manifest.file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| name.starts_with("lvp_icd") && name.ends_with(".json"))
}

/// Where the loader looks: the places that the user has named, else the system's.
fn manifests() -> Vec<PathBuf> {
    let mut named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]
        .into_iter()
        .filter_map(std::env::var_os);
    if let Some(named) = named.find(|value| !value.is_empty()) {
        return std::env::split_paths(&named)
            .flat_map(|path| match path.is_dir() {
                true => files(&path),
                false => vec![path],
            })
            .collect();
    }
    let or = |name: &str, default: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.unwrap_or_else(|| default.into())
    };
    let bases = [
        or("XDG_CONFIG_DIRS", "/etc/xdg"),
        "/etc".into(),
        or("XDG_DATA_DIRS", "/usr/local/share:/usr/share"),
    ];
    let bases = bases
        .iter()
        .flat_map(|list| std::env::split_paths(list).collect::<Vec<_>>());
    bases
        .flat_map(|base| files(&base.join("vulkan/icd.d")))
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The library that a manifest names: by its path, by one from the manifest on, or by its name alone, which is then
/// looked for beside the manifest's prefix (`/usr` of `/usr/share/vulkan/icd.d`).
fn library(manifest: &Path) -> Option<PathBuf> {
    let text: Value = serde_json::from_slice(&read(manifest, 1 << 20)?).ok()?;
    let named = Path::new(text["ICD"]["library_path"].as_str()?);
    if named.components().count() > 1 {
        return Some(manifest.parent()?.join(named));
    }
    let prefix = manifest.ancestors().nth(4)?;
    let prefix = match prefix.parent() {
        None => Path::new("/usr"),
        Some(_) => prefix,
    };
    let below = |folder: PathBuf| {
        let inside = files(&folder).into_iter().filter(|path| path.is_dir());
        inside.collect::<Vec<_>>()
    };
    let own = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    std::env::split_paths(&own)
        .chain([prefix.join("lib64"), prefix.join("lib")])
        .chain(below(prefix.join("lib")))
        .map(|folder| folder.join(named))
        .find(|path| path.is_file())
}

/// The driver carries what it tells of itself, as in `Mesa 22.3.6 (LLVM 15.0.6)`.
fn version_in(library: &[u8]) -> Option<MesaVersion> {
    const BEFORE: &[u8] = b"Mesa ";
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    memmem::find_iter(library, BEFORE).find_map(|at| {
        let mut parts = library[at + BEFORE.len()..].splitn(3, |byte| *byte == b'.');
        Some((number(parts.next()?)?, number(parts.next()?)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_driver_says() {
        let text =
            b"\0Mesa Project\0 Mesa 2x.1\0llvmpipe\0Mesa 25.0.7-2+deb13 (LLVM 19)\0Mesa 1.2.3";
        assert_eq!(version_in(text), Some((25, 0)));
        assert_eq!(version_in(b"Mesa is here"), None);
        assert_eq!(version_in(b"Mesa 22"), None);
    }

    #[test]
    fn a_library_is_found_by_path_and_by_name() {
        let prefix = tempfile::tempdir().unwrap();
        let folder = prefix.path().join("share/vulkan/icd.d");
        let there = prefix.path().join("lib/some-linux-gnu");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&there).unwrap();
        fs::write(there.join("libvulkan_lvp.so"), "").unwrap();
        let manifest = folder.join("lvp_icd.json");
        for (named, found) in [
            ("libvulkan_lvp.so", Some(there.join("libvulkan_lvp.so"))),
            ("/opt/mesa/lvp.so", Some("/opt/mesa/lvp.so".into())),
            ("./lvp.so", Some(folder.join("./lvp.so"))),
            ("absent.so", None),
        ] {
            let text = format!(r#"{{ "ICD": {{ "library_path": "{named}" }} }}"#);
            fs::write(&manifest, text).unwrap();
            assert_eq!(library(&manifest), found, "{named}");
        }
        fs::write(&manifest, "no manifest").unwrap();
        assert_eq!(library(&manifest), None);
        assert_eq!(read(Path::new("/dev/zero"), 1 << 20), None);
        assert_eq!(read(&manifest, 3), None);
        assert!(is_lavapipes(&manifest) && !is_lavapipes(Path::new("radeon_icd.json")));
    }
}
