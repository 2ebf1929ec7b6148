//! The entries of a zip archive, by name.

use std::collections::BTreeMap;

use rawzip::{CompressionMethod, Crc32, ZipArchive, ZipSliceArchive, ZipVerification};

use super::Refused;
use crate::formats::printable;

/// What a TorchScript program has beside its weights.
const PROGRAM: &str = "constants.pkl";

pub(super) struct Archive<'a> {
    zip: ZipSliceArchive<&'a [u8]>,
    entries: BTreeMap<String, rawzip::ZipArchiveEntryWayfinder>,
}

impl<'a> Archive<'a> {
    /// Lists the entries below the folder that has `data.pkl`.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Refused> {
        let zip = ZipArchive::from_slice(bytes).map_err(Refused::damaged)?;
        let (mut all, mut roots) = (BTreeMap::new(), Vec::new());
        let mut compressed = None;
        for record in zip.entries() {
            let record = record.map_err(Refused::damaged)?;
            let name = record.file_path();
            let name = String::from_utf8_lossy(name.as_ref()).into_owned();
            if record.compression_method() != CompressionMethod::STORE {
                compressed.get_or_insert_with(|| name.clone());
            }
            if let Some(root) = name.strip_suffix("/data.pkl") {
                roots.push(format!("{root}/"));
            }
            if all.insert(name.clone(), record.wayfinder()).is_some() {
                return Err(Refused::damaged(format!(
                    "`{}` is there twice",
                    printable(name)
                )));
            }
        }
        let [root] = &roots[..] else {
            let count = roots.len();
            return Err(Refused::damaged(format!(
                "{count} entries are called `data.pkl`, expected one"
            )));
        };
        let entries = all.into_iter().filter_map(|(name, entry)| {
            let below = name.strip_prefix(root.as_str())?;
            Some((below.to_owned(), entry))
        });
        let archive = Self {
            entries: entries.collect(),
            zip,
        };
        if archive.entries.contains_key(PROGRAM) {
            return Err(Refused {
                found: "is a TorchScript program".into(),
                way_out: "save its weights alone: `torch.save(torch.jit.load(PROGRAM).state_dict(), FILE)`",
            });
        }
        if let Some(name) = compressed {
            return Err(Refused::other(format!(
                "is compressed (`{}`), which `torch.save` does not do",
                printable(name)
            )));
        }
        // Absent before PyTorch 2.1.
        if archive.entries.contains_key("byteorder") {
            let order = String::from_utf8_lossy(archive.require("byteorder")?);
            if order.trim_end() != "little" {
                return Err(Refused::other(format!(
                    "has the byte order `{}`, expected little",
                    printable(order)
                )));
            }
        }
        Ok(archive)
    }

    /// The content of an entry, which is there and whole.
    pub fn require(&self, name: &str) -> Result<&[u8], Refused> {
        let shown = || printable(name);
        let Some(&entry) = self.entries.get(name) else {
            return Err(Refused::damaged(format!("`{}` is missing", shown())));
        };
        let unsound = |error| Refused::damaged(format!("`{}`: {error}", shown()));
        let entry = self.zip.get_entry(entry).map_err(unsound)?;
        let content = entry.data();
        let mut crc = Crc32::new();
        crc.update(content);
        let found = ZipVerification {
            crc: crc.checksum(),
            uncompressed_size: content.len() as u64,
        };
        entry.claim_verifier().valid(found).map_err(unsound)?;
        Ok(content)
    }
}
