//! Which version of Mesa's software Vulkan driver will be loaded, before it is: what it reads from the environment
//! must be chosen by then.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::mesa::{MesaVersion, version_in};

/// The newest version among the drivers whose manifests the Vulkan loader finds; `None` where there is none, or one does
/// not tell its version.
pub fn newest_version() -> Option<MesaVersion> {
    let manifests = manifests().into_iter().filter(|path| is_lavapipes(path));
    let versions: Option<Vec<_>> = manifests.map(|path| version(&path)).collect();
    versions?.into_iter().max()
}

fn version(manifest: &Path) -> Option<MesaVersion> {
    // The driver carries what it tells of itself.
    version_in(&read(&library(manifest)?, 1 << 30)?)
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

/// Where the loader looks: the places that the user has named, else the user's own and the system's.
fn manifests() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let split = |paths: OsString| std::env::split_paths(&paths).collect::<Vec<_>>();
    let named = set("VK_DRIVER_FILES").or_else(|| set("VK_ICD_FILENAMES"));
    let places = match named {
        Some(named) => split(named),
        None => {
            let home = |below: &str| set("HOME").map(|home| Path::new(&home).join(below).into());
            let bases = [
                set("XDG_CONFIG_HOME").or_else(|| home(".config")),
                set("XDG_CONFIG_DIRS").or_else(|| Some("/etc/xdg".into())),
                Some("/etc".into()),
                set("XDG_DATA_HOME").or_else(|| home(".local/share")),
                set("XDG_DATA_DIRS").or_else(|| Some("/usr/local/share:/usr/share".into())),
            ];
            let bases = bases.into_iter().flatten().flat_map(split);
            let added = set("VK_ADD_DRIVER_FILES").into_iter().flat_map(split);
            added
                .chain(bases.map(|base| base.join("vulkan/icd.d")))
                .collect()
        }
    };
    let in_it = |place: PathBuf| match place.is_file() {
        true => vec![place],
        false => files(&place),
    };
    places.into_iter().flat_map(in_it).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

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
