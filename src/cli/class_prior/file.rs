//! Weights of classes in a file.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::low_level::formats::{printable, read_regular};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// Bytes that a file may have.
const LIMIT: u64 = 1 << 24;

/// Classes and their weights as a file lists them.
type Entries = Vec<(String, f64)>;

/// What a file lists, classes that are there twice too.
pub fn weights(path: &Path) -> Result<Entries> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let read: fn(&[u8]) -> Result<Entries> = match extension {
        Some("json") => of_json,
        Some("csv") => of_csv,
        _ => bail!("neither `uniform` nor `train`, nor a file whose name ends in .json or .csv"),
    };
    read(&read_regular(path, LIMIT)?)
}

/// `{"cat": 0.7, "dog": 0.3}`
fn of_json(bytes: &[u8]) -> Result<Entries> {
    let listed: Listed = serde_json::from_slice(bytes)
        .context("not a JSON object of classes and their weights, {\"CLASS\": WEIGHT, ...}")?;
    Ok(listed.0)
}

/// A line `class,weight` and one for each class.
fn of_csv(bytes: &[u8]) -> Result<Entries> {
    let mut table = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let heading = table.headers()?;
    ensure!(
        heading.iter().eq(["class", "weight"]),
        "its first line is {:?}, expected class,weight",
        heading.iter().collect::<Vec<_>>().join(",")
    );
    let weight = |row: csv::StringRecord| {
        let (class, text) = (row[0].to_owned(), &row[1]);
        let weight = text.parse::<f64>().with_context(|| {
            format!(
                "the weight of {} is {text:?}, expected a number",
                printable(&class)
            )
        })?;
        Ok((class, weight))
    };
    table.records().map(|row| weight(row?)).collect()
}

/// The entries of an object, those of the same name too.
struct Listed(Entries);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of classes and their weights")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Listed(all))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bayeslora::low_level::formats::ClassBalance;
    use bayeslora::low_level::predict::ClassPrior;

    use super::weights;

    /// The target that it comes to.
    fn read(name: &str, text: &str) -> Result<Vec<f64>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        let classes = ["cat", "big dog"].map(str::to_owned);
        let balance = ClassBalance {
            images: vec![1, 1],
            prior: vec![0.5, 0.5],
        };
        let listed = weights(&path).map_err(|error| format!("{error:#}"))?;
        let target = ClassPrior::Weights(listed).target(&classes, &balance);
        target.map_err(|error| error.to_string())
    }

    #[test]
    fn both_formats_say_the_same() {
        let expected = Ok(vec![3.0 / 3.5, 0.5 / 3.5]);
        assert_eq!(read("p.json", r#"{"big dog": 0.5, "cat": 3}"#), expected);
        assert_eq!(
            read("p.csv", "class, weight\r\ncat,3\n\"big dog\",.5\n"),
            expected
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, text, said) in [
            ("p.json", r#"{"cat": 1}"#, "no weight for the class big dog"),
            (
                "p.json",
                r#"{"cat": 1, "big dog": -0.2}"#,
                "weight of big dog is -0.2",
            ),
            (
                "p.json",
                r#"{"cat": 0, "big dog": 1}"#,
                "weight of cat is 0",
            ),
            (
                "p.json",
                r#"{"cat": 1, "bigdog": 1}"#,
                "the nearest is big dog",
            ),
            (
                "p.json",
                r#"{"cat": 1, "cat": 2, "big dog": 1}"#,
                "cat has two weights",
            ),
            (
                "p.json",
                r#"{"cat": "1", "big dog": 1}"#,
                "not a JSON object of classes",
            ),
            (
                "p.json",
                r#"{"cat": 1, "big do"#,
                "not a JSON object of classes",
            ),
            ("p.json", "[1, 2]", "not a JSON object of classes"),
            (
                "p.csv",
                "class,weight\ncat,nan\nbig dog,1\n",
                "weight of cat is NaN",
            ),
            (
                "p.csv",
                "class,weight\ncat,inf\nbig dog,1\n",
                "weight of cat is inf",
            ),
            (
                "p.csv",
                "class,weight\ncat,one\nbig dog,1\n",
                "weight of cat is \"one\"",
            ),
            (
                "p.csv",
                "class,weight\ncat,1\ncat,1\n",
                "cat has two weights",
            ),
            ("p.csv", "class,weight\ncat\n", "found record with 1 fields"),
            ("p.csv", "cat,1\nbig dog,1\n", "expected class,weight"),
            ("p.csv", "", "expected class,weight"),
            ("p.txt", "cat 1", "ends in .json or .csv"),
        ] {
            let error = read(name, text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
