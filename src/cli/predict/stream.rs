//! `predict --out`: answers in a file, a line each, as they come; what is there already is not asked again.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::low_level::data::prefetch;
use bayeslora::low_level::formats::{printable, write_atomic};
use bayeslora::low_level::gpu::Precision;
use serde::Serialize;
use serde_json::Value;

use super::answers::{Answer, Answering, Way};
use crate::cli::context::{self, Bar};
use crate::cli::location::Location;
use crate::cli::output::{self, Unkept};
use crate::cli::pictures::{self, decode};
use crate::cli::shard::Shard;

/// Images that are answered at a time. What is lost when the program is killed.
const AT_ONCE: usize = 256;

/// What the lines are, by the end of the file's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// The most probable class of each image.
    Csv,
    /// An object for each image, as in --json.
    Jsonl,
}

const COLUMNS: [&str; 10] = [
    "image",
    "class",
    "probability",
    "std",
    "entropy",
    "mutual_information",
    "answered",
    "prediction_set",
    "familiarity",
    "unfamiliar",
];

/// What the answers in a file are, in a file beside it: others do not go into it.
#[derive(Serialize)]
struct Head<'a> {
    #[serde(flatten)]
    way: &'a Way,
    precision: Precision,
    shard: Shard,
    top: Option<u32>,
    /// Where relative names of images begin.
    directory: Location,
}

/// What became of the images.
#[derive(Default, Serialize)]
struct Summary {
    /// Now.
    answered: usize,
    /// In the file from before.
    answered_before: usize,
    /// Images that cannot be decoded.
    skipped: Vec<super::Skipped>,
}

/// The file, for its only writer.
struct Answers {
    file: File,
    format: Format,
    /// Names of the images in it.
    known: HashSet<String>,
    /// When it was written last.
    written: SystemTime,
}

/// How to write.
#[derive(Clone, Copy)]
pub struct Streaming<'a> {
    pub out: &'a Path,
    pub shard: Shard,
    pub top: Option<u32>,
    pub skip_bad_images: bool,
    pub json: bool,
}

/// Before any work: what cannot be written.
pub fn check(out: &Path, top: Option<u32>) -> Result<()> {
    let format = Format::of(out)?;
    ensure!(
        format == Format::Jsonl || top.is_none(),
        "--top: lines of CSV have the most probable class of each image; name a file that ends in .jsonl"
    );
    output::check_place("--out", out)
}

/// Answers the images of a part that the file does not have yet.
pub fn run(answering: &Answering, named: &[PathBuf], side: usize, how: Streaming) -> Result<()> {
    let Streaming {
        out, shard, top, ..
    } = how;
    let all = pictures::files(named)?;
    let head = Head {
        way: &answering.way,
        precision: answering.precision,
        shard,
        top,
        directory: std::env::current_dir()
            .context("the working directory")?
            .into(),
    };
    let mut answers = Answers::open(out, &head)?;
    let mut summary = Summary::default();
    let mut seen = HashSet::new();
    let mut left = Vec::new();
    for file in all.into_iter().filter(|file| shard.has_file(file)) {
        let name = answers.format.name(&file)?;
        if !seen.insert(name.clone()) {
            continue;
        }
        match answers.known.contains(&name) {
            false => left.push(file),
            true => {
                let changed = fs::metadata(&file).and_then(|file| file.modified());
                ensure!(
                    changed.is_ok_and(|changed| changed <= answers.written),
                    "--out {}: {} has changed since it was answered; remove {} and {} to answer all again",
                    out.display(),
                    printable(file.display()),
                    out.display(),
                    beside(out).display()
                );
                summary.answered_before += 1;
            }
        }
    }
    let (bar, total) = (Bar::default(), left.len());
    let chunks: Vec<&[PathBuf]> = left.chunks(AT_ONCE).collect();
    let wanted = match (answers.format, top) {
        (Format::Csv, _) => 1,
        (Format::Jsonl, Some(top)) => top as usize,
        (Format::Jsonl, None) => usize::MAX,
    };
    prefetch(
        chunks.len(),
        |chunk| decode(chunks[chunk], side, true),
        |ahead| {
            for chunk in &chunks {
                let decoded = ahead.next(|| ()).expect("as many as there are chunks");
                let (mut files, mut pixels) = (Vec::new(), Vec::new());
                let mut bad = Vec::new();
                for (file, image) in chunk.iter().zip(decoded) {
                    match image {
                        Ok(image) => {
                            files.push(file.clone());
                            pixels.extend(image);
                        }
                        Err(reason) => bad.push((file.clone(), reason)),
                    }
                }
                if !files.is_empty() {
                    let (rows, _) = answering.answer(&files, pixels, wanted)?;
                    answers.write(&rows)?;
                    summary.answered += files.len();
                }
                if !how.skip_bad_images {
                    pictures::refuse(&bad, total, false)?;
                }
                summary.skipped.extend(bad.into_iter().map(Into::into));
                bar.show("answering", summary.answered + summary.skipped.len(), total);
            }
            Ok::<_, anyhow::Error>(())
        },
    )?;
    let reasons = summary.skipped.iter().map(|skipped| &skipped.reason);
    context::tell_skipped(summary.skipped.len(), reasons);
    if how.json {
        return output::json(&summary);
    }
    let before = match summary.answered_before {
        0 => String::new(),
        count => format!(" and {count} before"),
    };
    output::text(&format!(
        "{}: {} images answered{before}",
        out.display(),
        summary.answered
    ))
}

impl Format {
    fn of(out: &Path) -> Result<Self> {
        let extension = out.extension().and_then(|extension| extension.to_str());
        match extension {
            Some("csv") => Ok(Self::Csv),
            Some("jsonl") => Ok(Self::Jsonl),
            _ => bail!(
                "--out {}: let its name end in .csv (a table) or .jsonl (a JSON object for each image); --probs-out writes \
                 .npy",
                out.display()
            ),
        }
    }

    /// How the lines name an image: no two alike.
    fn name(self, file: &Path) -> Result<String> {
        if self == Self::Jsonl {
            return Ok(serde_json::json!(Location::from(file.as_os_str())).to_string());
        }
        let plain = file.to_str();
        let plain = plain.filter(|name| !name.contains(char::is_control));
        let plain = plain.with_context(|| {
            format!(
                "--out: a table cannot hold the name {}; name a file that ends in .jsonl",
                printable(file.display())
            )
        })?;
        Ok(plain.to_owned())
    }

    fn lines(self, answers: &[Answer]) -> Result<Vec<u8>> {
        match self {
            Self::Csv => {
                let mut table = csv::Writer::from_writer(Vec::new());
                for answer in answers {
                    table.write_record(row(answer))?;
                }
                Ok(table.into_inner()?)
            }
            Self::Jsonl => {
                let mut lines = Vec::new();
                for answer in answers {
                    serde_json::to_writer(&mut lines, answer)?;
                    lines.push(b'\n');
                }
                Ok(lines)
            }
        }
    }

    /// The names in a file of whole lines, or which line is none.
    fn names(self, file: &File) -> Result<HashSet<String>, String> {
        let damaged = |line: usize| format!("line {line} is damaged");
        match self {
            Self::Csv => {
                let mut table = csv::ReaderBuilder::new()
                    .has_headers(false)
                    .from_reader(file);
                let mut names = HashSet::new();
                for (number, row) in table.records().enumerate() {
                    let row = row.map_err(|_| damaged(number + 1))?;
                    if row.len() != COLUMNS.len() {
                        return Err(damaged(number + 1));
                    }
                    // A heading, if it is the first.
                    if number > 0 || row.iter().ne(COLUMNS) {
                        names.insert(row[0].to_owned());
                    }
                }
                Ok(names)
            }
            Self::Jsonl => {
                let lines = BufReader::new(file).lines().enumerate();
                lines
                    .map(|(number, line)| {
                        let line: Option<Value> =
                            line.ok().and_then(|line| serde_json::from_str(&line).ok());
                        let name = line.as_ref().and_then(|line| line.get("image"));
                        name.map(Value::to_string)
                            .ok_or_else(|| damaged(number + 1))
                    })
                    .collect()
            }
        }
    }
}

fn row(answer: &Answer) -> [String; COLUMNS.len()] {
    let best = &answer.classes[0];
    let (promised, familiarity) = (&answer.promised, answer.familiarity);
    [
        answer.image.to_string(),
        printable(&best.class),
        best.probability.to_string(),
        best.std.to_string(),
        answer.entropy.to_string(),
        answer.mutual_information.to_string(),
        promised
            .answered
            .map_or(String::new(), |answered| answered.to_string()),
        promised
            .prediction_set
            .as_ref()
            .map_or(String::new(), |set| {
                let names: Vec<String> = set.iter().map(printable).collect();
                names.join("|")
            }),
        familiarity.map_or(String::new(), |found| found.familiarity.to_string()),
        familiarity.map_or(String::new(), |found| found.unfamiliar.to_string()),
    ]
}

impl Answers {
    /// A new file, or what is there of the same answers; a line that was being written is written anew.
    fn open(out: &Path, head: &Head) -> Result<Self> {
        let (format, shown) = (Format::of(out)?, out.display());
        let unkept = || Unkept(format!("the answers could not be written (--out {shown})"));
        let options = || {
            let mut options = File::options();
            options.read(true).write(true);
            options
        };
        let beside = beside(out);
        let wanted = serde_json::to_vec(head)?;
        let mut file = options()
            .create(true)
            .truncate(false)
            .open(out)
            .with_context(unkept)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("--out {shown}: another process writes to it; name another file or wait")
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(unkept),
        }
        let metadata = file.metadata().with_context(unkept)?;
        let is_new = metadata.len() == 0;
        let written = metadata.modified().with_context(unkept)?;
        if is_new {
            write_atomic(&beside, &wanted).with_context(unkept)?;
            if format == Format::Csv && head.shard.is_first() {
                let mut heading = csv::Writer::from_writer(Vec::new());
                heading.write_record(COLUMNS)?;
                file.write_all(&heading.into_inner()?)
                    .with_context(unkept)?;
            }
        } else {
            ensure!(
                beside.exists(),
                "--out {shown}: it exists, and {}, which says of which adapter and options its answers are, does not; put that back, \
                 remove {shown} to answer all images again, or name another file",
                beside.display()
            );
            let found = fs::read(&beside).ok();
            let same = found.is_some_and(|found| found == wanted);
            ensure!(
                same,
                "--out {shown}: it exists, and {} does not say that it holds answers of this adapter with these options, from this directory; name \
                 another file, or remove both",
                beside.display()
            );
            let end = whole(&mut file).with_context(unkept)?;
            file.set_len(end).with_context(unkept)?;
        }
        file.rewind().with_context(unkept)?;
        let known = format.names(&file).map_err(|reason| {
            anyhow::anyhow!("--out {shown}: {reason}; name another file, or remove it")
        })?;
        file.seek(SeekFrom::End(0)).with_context(unkept)?;
        Ok(Self {
            file,
            format,
            known,
            written,
        })
    }

    fn write(&mut self, answers: &[Answer]) -> Result<()> {
        let lines = self.format.lines(answers)?;
        self.file
            .write_all(&lines)
            .with_context(|| Unkept("the answers could not be written (--out)".into()))
    }
}

/// Where it is said what the answers are.
fn beside(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// Bytes up to the end of the last whole line.
fn whole(file: &mut File) -> std::io::Result<u64> {
    const BLOCK: u64 = 1 << 16;
    let mut end = file.seek(SeekFrom::End(0))?;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        if let Some(place) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
