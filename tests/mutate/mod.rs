//! Damaged files by the thousand, the same ones every time: does a reader refuse them or live with them,
//! without a panic, in little memory and little time?
//!
//! A binary that hunts has `#[global_allocator] static MEMORY: mutate::Counting = mutate::Counting;`.
#![allow(dead_code, reason = "no test binary uses every helper")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::SeedableRng;
use rand_pcg::Pcg64;

/// The system's allocator, which counts what the calling thread holds.
pub struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends may free after its counters are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The most bytes that this thread has held at a time during `work`, beyond what it held before.
pub fn peak_of(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    work();
    (PEAK.get() - before).max(0) as usize
}

/// What a reader may take for one damaged file.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub bytes: usize,
    pub time: Duration,
}

/// Calls `read` with damaged forms of `seeds`, which it must take or refuse within `bounds`: 2,000 times,
/// or for as many seconds as the environment's `BAYESLORA_MUTATE_SECONDS` says.
///
/// # Panics
///
/// With the bytes of the first file that is not read so, under the name that the message tells.
pub fn hunt(name: &str, seeds: &[Vec<u8>], bounds: Bounds, mut read: impl FnMut(&[u8])) {
    const ROUNDS: u64 = 2000;
    let seconds = std::env::var("BAYESLORA_MUTATE_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse::<f64>().expect("a number of seconds"));
    let begin = Instant::now();
    let mut round = 0;
    loop {
        let done = match seconds {
            Some(seconds) => begin.elapsed().as_secs_f64() >= seconds,
            None => round >= ROUNDS,
        };
        if done {
            println!("{name}: {round} damaged files");
            return;
        }
        let bytes = damaged(seeds, round);
        let start = Instant::now();
        let mut outcome = Ok(());
        let peak = peak_of(|| outcome = catch_unwind(AssertUnwindSafe(|| read(&bytes))));
        let took = start.elapsed();
        if outcome.is_err() || peak > bounds.bytes || took > bounds.time {
            let kept = std::env::temp_dir().join(format!("bayeslora-{name}-{round}"));
            std::fs::write(&kept, &bytes).unwrap();
            let panicked = if outcome.is_err() { "a panic, " } else { "" };
            panic!(
                "{name}, round {round}: {panicked}{peak} bytes, {took:?}; the file is kept as {}",
                kept.display()
            );
        }
        round += 1;
    }
}

/// One of `seeds` with one to six changes.
pub fn damaged(seeds: &[Vec<u8>], round: u64) -> Vec<u8> {
    let mut rng = Pcg64::seed_from_u64(round);
    let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..=6) {
        let other = &seeds[rng.random_range(0..seeds.len())];
        change(&mut bytes, other, &mut rng);
    }
    bytes
}

/// Values that sizes, counts and offsets go wrong at.
const EXTREMES: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_fffe,
    0xffff_ffff,
    1 << 62,
    i64::MAX as u64,
    u64::MAX,
];

fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Pcg64) {
    let length = bytes.len();
    if length == 0 {
        bytes.extend_from_slice(other);
        return;
    }
    // Headers are short and decide most: half of the changes are there.
    let reach = match rng.random_bool(0.5) {
        true => length.min(64),
        false => length,
    };
    let at = rng.random_range(0..reach);
    match rng.random_range(0..10) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random(),
        2..=4 => {
            let value = EXTREMES[rng.random_range(0..EXTREMES.len())];
            let width = 1 << rng.random_range(0..4);
            let little = value.to_le_bytes();
            let mut field = little[..width].to_vec();
            if rng.random() {
                field.reverse();
            }
            let end = length.min(at + width);
            bytes[at..end].copy_from_slice(&field[..end - at]);
        }
        5 => bytes.truncate(at),
        6 => {
            let from = rng.random_range(0..=other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        7 => {
            let count = rng.random_range(1..=64);
            let end = length.min(at + count);
            bytes[at..end].fill(0);
        }
        8 => {
            let end = length.min(at + rng.random_range(1..=64));
            let piece = bytes[at..end].to_vec();
            let to = rng.random_range(0..=length);
            bytes.splice(to..to, piece);
        }
        // Numbers in text.
        _ => {
            let digit = (at..length).find(|&place| bytes[place].is_ascii_digit());
            if let Some(digit) = digit {
                let numbers = [
                    "0",
                    "-1",
                    "1e999",
                    "NaN",
                    "4294967296",
                    "99999999999999999999",
                ];
                let number = numbers[rng.random_range(0..numbers.len())];
                bytes.splice(digit..=digit, number.bytes());
            }
        }
    }
}
