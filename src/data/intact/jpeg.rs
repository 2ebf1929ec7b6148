//! Whether the data of a JPEG are all there.
//!
//! Decoders go on where data end too early and paint what is missing grey, so a photo that was cut in
//! a download would be trained on. Here every scan's codes are counted, without decoding a pixel:
//! sequential and progressive, as ITU-T T.81 has them. What is not understood is left to the decoder.

/// What is wrong with the data.
#[derive(Debug, thiserror::Error)]
pub(in crate::low_level::data) enum JpegFault {
    #[error("the end of the image is missing: the file is cut or its tail is lost")]
    NoEnd,
    #[error("scan {scan} ends after {done} of {blocks} blocks: data are missing")]
    ShortScan {
        scan: usize,
        done: usize,
        blocks: usize,
    },
    #[error("scan {scan} is damaged after {done} of {blocks} blocks")]
    DamagedScan {
        scan: usize,
        done: usize,
        blocks: usize,
    },
    #[error("scans are missing: the image is known in part only")]
    MissingScans,
    #[error("more than {MAX_SCANS} scans")]
    TooManyScans,
}

/// Encoders make some ten; each may ask for a pass over the whole image.
const MAX_SCANS: usize = 100;

mod marker {
    pub const BASELINE: u8 = 0xc0;
    pub const EXTENDED: u8 = 0xc1;
    pub const PROGRESSIVE: u8 = 0xc2;
    pub const HUFFMAN_TABLES: u8 = 0xc4;
    pub const RESTART: std::ops::RangeInclusive<u8> = 0xd0..=0xd7;
    pub const START: u8 = 0xd8;
    pub const END: u8 = 0xd9;
    pub const SCAN: u8 = 0xda;
    pub const RESTART_INTERVAL: u8 = 0xdd;
    /// Alone, like those of restarts, start and end.
    pub const TEMPORARY: u8 = 0x01;
}

/// Goes through a file's markers to the end of its first image; what follows, as phones append it,
/// does not matter.
pub(super) fn check(bytes: &[u8]) -> Result<(), JpegFault> {
    let mut at = 0;
    let mut image = Image::default();
    loop {
        let marker = next_marker(bytes, &mut at).ok_or(JpegFault::NoEnd)?;
        match marker {
            marker::START | marker::TEMPORARY => continue,
            marker::END => return image.check_complete(),
            marker if marker::RESTART.contains(&marker) => continue,
            _ => {}
        }
        let segment = segment(bytes, &mut at).ok_or(JpegFault::NoEnd)?;
        match marker {
            marker::BASELINE | marker::EXTENDED => image.frame = Frame::read(segment, false),
            marker::PROGRESSIVE => image.frame = Frame::read(segment, true),
            marker::HUFFMAN_TABLES => image.read_tables(segment),
            marker::RESTART_INTERVAL => {
                image.restart_interval = word(segment, 0).unwrap_or(0);
            }
            marker::SCAN => at += image.scan(segment, &bytes[at..])?,
            _ => {}
        }
    }
}

/// Skips to behind the next marker. Between segments and after a scan's data there may be anything;
/// in data, 0xff is followed by 0.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        *at += bytes.get(*at..)?.iter().position(|byte| *byte == 0xff)? + 1;
        match *bytes.get(*at)? {
            0x00 => {}
            // Any number of them may stand before a marker.
            0xff => continue,
            marker => {
                *at += 1;
                return Some(marker);
            }
        }
    }
}

/// What follows a marker, without its length.
fn segment<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let length = word(bytes, *at)?.max(2);
    let segment = bytes.get(*at + 2..*at + length)?;
    *at += length;
    Some(segment)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let pair = bytes.get(at..at + 2)?;
    Some(usize::from(pair[0]) << 8 | usize::from(pair[1]))
}

#[derive(Default)]
struct Image {
    frame: Option<Frame>,
    dc_tables: [Option<Box<Huffman>>; 4],
    ac_tables: [Option<Box<Huffman>>; 4],
    /// In MCUs; 0 where there are none.
    restart_interval: usize,
    scans: usize,
}

struct Frame {
    progressive: bool,
    width: usize,
    height: usize,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Blocks of a whole MCU.
    horizontal: usize,
    vertical: usize,
    /// By coefficient in zigzag order: the lowest bit that a scan has brought, which is 0 in the end.
    lowest_bit: [Option<u8>; 64],
    /// Progressive: by block, a bit for every coefficient that is not zero.
    nonzero: Vec<u64>,
}

impl Frame {
    fn read(segment: &[u8], progressive: bool) -> Option<Self> {
        let (height, width) = (word(segment, 1)?, word(segment, 3)?);
        let count = usize::from(*segment.get(5)?);
        let components = segment.get(6..6 + 3 * count)?.chunks_exact(3);
        let components: Vec<_> = components
            .map(|component| Component {
                id: component[0],
                horizontal: usize::from(component[1] >> 4).clamp(1, 4),
                vertical: usize::from(component[1] & 15).clamp(1, 4),
                lowest_bit: [None; 64],
                nonzero: Vec::new(),
            })
            .collect();
        (width > 0 && height > 0 && !components.is_empty()).then_some(Self {
            progressive,
            width,
            height,
            components,
        })
    }

    /// Blocks of a whole MCU, across and down.
    fn mcu(&self) -> [usize; 2] {
        let largest = |side: fn(&Component) -> usize| self.components.iter().map(side).max();
        [largest(|c| c.horizontal), largest(|c| c.vertical)].map(|side| side.unwrap_or(1))
    }

    /// Blocks of a scan's MCU by component, and how many such MCUs there are. Of a single component
    /// only those blocks are coded that hold some of the image.
    fn layout(&self, scan: &Scan) -> (Vec<usize>, usize) {
        let [across, down] = self.mcu();
        if let [(place, ..)] = scan.components[..] {
            let component = &self.components[place];
            let width = (self.width * component.horizontal).div_ceil(8 * across);
            let height = (self.height * component.vertical).div_ceil(8 * down);
            return (vec![1], width * height);
        }
        let blocks = scan.components.iter().map(|(place, ..)| {
            let component = &self.components[*place];
            component.horizontal * component.vertical
        });
        let (width, height) = (
            self.width.div_ceil(8 * across),
            self.height.div_ceil(8 * down),
        );
        (blocks.collect(), width * height)
    }
}

/// One scan's header.
struct Scan {
    /// Place among the frame's components, tables of DC and AC.
    components: Vec<(usize, usize, usize)>,
    /// First and last coefficient.
    start: u8,
    end: u8,
    /// Bits that earlier scans have brought, and those that are still to come.
    high: u8,
    low: u8,
}

impl Scan {
    fn read(segment: &[u8], frame: &Frame) -> Option<Self> {
        let count = usize::from(*segment.first()?);
        let named = segment.get(1..1 + 2 * count)?.chunks_exact(2);
        let components: Option<Vec<_>> = named
            .map(|named| {
                let place = frame.components.iter().position(|c| c.id == named[0])?;
                let (dc, ac) = (usize::from(named[1] >> 4), usize::from(named[1] & 15));
                (dc < 4 && ac < 4).then_some((place, dc, ac))
            })
            .collect();
        let components = components.filter(|components| !components.is_empty())?;
        let &[start, end, bits] = segment.get(1 + 2 * count..4 + 2 * count)? else {
            return None;
        };
        let scan = match frame.progressive {
            true => Self {
                components,
                start,
                end,
                high: bits >> 4,
                low: bits & 15,
            },
            false => Self {
                components,
                start: 0,
                end: 63,
                high: 0,
                low: 0,
            },
        };
        // Of a progressive scan either DC alone, or AC of one component.
        let parted = match scan.start {
            0 => scan.end == 0,
            start => start <= scan.end && scan.end < 64 && scan.components.len() == 1,
        };
        (parted || !frame.progressive).then_some(scan)
    }
}

/// Why a block cannot be passed over.
enum Stop {
    Short,
    Damaged,
}

impl Image {
    fn check_complete(&self) -> Result<(), JpegFault> {
        let Some(frame) = &self.frame else {
            return Ok(());
        };
        let complete = frame.components.iter().all(|component| {
            let begun = component.lowest_bit[0].is_some();
            begun && component.lowest_bit.iter().flatten().all(|bit| *bit == 0)
        });
        match complete {
            true => Ok(()),
            false => Err(JpegFault::MissingScans),
        }
    }

    fn read_tables(&mut self, mut segment: &[u8]) {
        while let Some((kind, rest)) = segment.split_first() {
            let Some((table, rest)) = Huffman::read(rest) else {
                return;
            };
            let tables = match kind >> 4 {
                0 => &mut self.dc_tables,
                _ => &mut self.ac_tables,
            };
            if let Some(slot) = tables.get_mut(usize::from(kind & 15)) {
                *slot = Some(Box::new(table));
            }
            segment = rest;
        }
    }

    /// Passes over a scan, whose coded data begin `data`; returns how many bytes it has used.
    fn scan(&mut self, segment: &[u8], data: &[u8]) -> Result<usize, JpegFault> {
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return Err(JpegFault::TooManyScans);
        }
        let Some(frame) = &mut self.frame else {
            return Ok(0);
        };
        let Some(scan) = Scan::read(segment, frame) else {
            return Ok(0);
        };
        for (place, ..) in &scan.components {
            let band = usize::from(scan.start)..=usize::from(scan.end);
            frame.components[*place].lowest_bit[band].fill(Some(scan.low));
        }
        let (layout, mcus) = frame.layout(&scan);
        let mut bits = Bits::new(data);
        let mut pass = Pass {
            dc_tables: &self.dc_tables,
            ac_tables: &self.ac_tables,
            scan: &scan,
            end_of_band: 0,
        };
        if !pass.has_tables(frame.progressive) {
            return Ok(0);
        }
        let per_mcu: usize = layout.iter().sum();
        let mut done = 0;
        let fault = |stop, done| {
            let (scan, blocks) = (self.scans, mcus * per_mcu);
            match stop {
                Stop::Short => JpegFault::ShortScan { scan, done, blocks },
                Stop::Damaged => JpegFault::DamagedScan { scan, done, blocks },
            }
        };
        let is_ac_scan = frame.progressive && scan.start > 0;
        if is_ac_scan {
            let component = &mut frame.components[scan.components[0].0];
            component.nonzero.resize(mcus, 0);
        }
        for number in 0..mcus {
            if self.restart_interval > 0 && number > 0 && number % self.restart_interval == 0 {
                bits = bits.restart().ok_or_else(|| fault(Stop::Short, done))?;
                pass.end_of_band = 0;
            }
            for (&(place, dc, ac), &blocks) in scan.components.iter().zip(&layout) {
                for _ in 0..blocks {
                    let passed = match (frame.progressive, is_ac_scan) {
                        (false, _) => pass.sequential(&mut bits, dc, ac),
                        (true, false) => pass.dc(&mut bits, dc),
                        (true, true) => {
                            let nonzero = &mut frame.components[place].nonzero[number];
                            match scan.high {
                                0 => pass.ac_first(&mut bits, ac, nonzero),
                                _ => pass.ac_refined(&mut bits, ac, nonzero),
                            }
                        }
                    };
                    passed.map_err(|stop| fault(stop, done))?;
                    done += 1;
                }
            }
        }
        match bits.surplus() {
            true => Err(fault(Stop::Damaged, done)),
            false => Ok(bits.at),
        }
    }
}

/// What passing over the blocks of a scan needs.
struct Pass<'a> {
    dc_tables: &'a [Option<Box<Huffman>>; 4],
    ac_tables: &'a [Option<Box<Huffman>>; 4],
    scan: &'a Scan,
    /// Blocks still to come that bring nothing new.
    end_of_band: u32,
}

impl Pass<'_> {
    fn has_tables(&self, progressive: bool) -> bool {
        let (needs_dc, needs_ac) = match progressive {
            true => (
                self.scan.start == 0 && self.scan.high == 0,
                self.scan.start > 0,
            ),
            false => (true, true),
        };
        self.scan.components.iter().all(|&(_, dc, ac)| {
            (!needs_dc || self.dc_tables[dc].is_some())
                && (!needs_ac || self.ac_tables[ac].is_some())
        })
    }

    fn sequential(&self, bits: &mut Bits, dc: usize, ac: usize) -> Result<(), Stop> {
        self.dc(bits, dc)?;
        let table = table(self.ac_tables, ac)?;
        let mut k = 1;
        while k < 64 {
            let (run, size) = bits.run_and_size(table)?;
            match (run, size) {
                (15, 0) => k += 16,
                (_, 0) => break,
                _ => {
                    k += run + 1;
                    if k > 64 {
                        return Err(Stop::Damaged);
                    }
                    bits.skip(size)?;
                }
            }
        }
        Ok(())
    }

    fn dc(&self, bits: &mut Bits, dc: usize) -> Result<(), Stop> {
        if self.scan.high > 0 {
            return bits.skip(1);
        }
        let size = bits.symbol(table(self.dc_tables, dc)?)?;
        match size {
            0..=16 => bits.skip(size.into()),
            _ => Err(Stop::Damaged),
        }
    }

    fn ac_first(&mut self, bits: &mut Bits, ac: usize, nonzero: &mut u64) -> Result<(), Stop> {
        if self.end_of_band > 0 {
            self.end_of_band -= 1;
            return Ok(());
        }
        let table = table(self.ac_tables, ac)?;
        let mut k = u32::from(self.scan.start);
        while k <= self.scan.end.into() {
            let (run, size) = bits.run_and_size(table)?;
            match (run, size) {
                (15, 0) => k += 16,
                (run, 0) => {
                    self.end_of_band = (1 << run) + bits.take(run)? - 1;
                    break;
                }
                _ => {
                    k += run;
                    if k > 63 {
                        return Err(Stop::Damaged);
                    }
                    bits.skip(size)?;
                    *nonzero |= 1 << k;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// A coefficient that is not zero brings one more bit wherever it is passed.
    fn ac_refined(&mut self, bits: &mut Bits, ac: usize, nonzero: &mut u64) -> Result<(), Stop> {
        let end = u32::from(self.scan.end);
        let mut k = u32::from(self.scan.start);
        if self.end_of_band == 0 {
            let table = table(self.ac_tables, ac)?;
            while k <= end {
                let (mut run, size) = bits.run_and_size(table)?;
                match size {
                    0 if run < 15 => {
                        self.end_of_band = (1 << run) + bits.take(run)?;
                        break;
                    }
                    _ => bits.skip(size)?,
                }
                while k <= end {
                    if *nonzero >> k & 1 == 1 {
                        bits.skip(1)?;
                    } else if run == 0 {
                        break;
                    } else {
                        run -= 1;
                    }
                    k += 1;
                }
                if size > 0 && k <= end {
                    *nonzero |= 1 << k;
                }
                k += 1;
            }
        }
        if self.end_of_band > 0 {
            self.end_of_band -= 1;
            if k <= end {
                let band = u64::MAX >> (63 - end) & u64::MAX << k;
                bits.skip((*nonzero & band).count_ones())?;
            }
        }
        Ok(())
    }
}

fn table(tables: &[Option<Box<Huffman>>; 4], index: usize) -> Result<&Huffman, Stop> {
    tables[index].as_deref().ok_or(Stop::Damaged)
}

/// Bits of the codes that are looked up; longer ones are searched.
const LOOKUP: u32 = 9;

struct Huffman {
    /// By the next bits: symbol and length of the code, length 0 for longer ones.
    lookup: [(u8, u8); 1 << LOOKUP],
    /// By length, the first number of 16 bits that belongs to a longer code.
    end: [u32; 17],
    /// By length, what is added to a code for its place among the symbols.
    offset: [i32; 17],
    symbols: [u8; 256],
}

impl Huffman {
    /// And what follows it.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (counts, rest) = bytes.split_at_checked(16)?;
        let total = counts.iter().map(|count| usize::from(*count)).sum();
        let (listed, rest) = rest.split_at_checked(total)?;
        let mut table = Self {
            lookup: [(0, 0); 1 << LOOKUP],
            end: [0; 17],
            offset: [0; 17],
            symbols: [0; 256],
        };
        table.symbols.get_mut(..total)?.copy_from_slice(listed);
        let (mut code, mut place) = (0u32, 0usize);
        for (length, count) in (1u32..).zip(counts) {
            let count = usize::from(*count);
            table.offset[length as usize] = place as i32 - code as i32;
            for symbol in &listed[place..place + count] {
                if length <= LOOKUP {
                    let shift = LOOKUP - length;
                    let entries = table.lookup.get_mut((code << shift) as usize..)?;
                    let entries = entries.get_mut(..1 << shift)?;
                    entries.fill((*symbol, length as u8));
                }
                code += 1;
            }
            place += count;
            if code > 1 << length {
                return None;
            }
            table.end[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some((table, rest))
    }
}

/// The coded data up to the next marker, bit by bit.
struct Bits<'a> {
    data: &'a [u8],
    /// Of the next byte that is not in `buffer`.
    at: usize,
    /// The next bits at its upper end, zeros below.
    buffer: u64,
    left: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            at: 0,
            buffer: 0,
            left: 0,
        }
    }

    #[inline]
    fn fill(&mut self) {
        while self.left <= 56 {
            let Some(&byte) = self.data.get(self.at) else {
                return;
            };
            if byte == 0xff {
                if self.data.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.left);
            self.left += 8;
        }
    }

    #[inline]
    fn skip(&mut self, count: u32) -> Result<(), Stop> {
        if self.left < count {
            self.fill();
            if self.left < count {
                return Err(Stop::Short);
            }
        }
        self.left -= count;
        self.buffer = self.buffer.checked_shl(count).unwrap_or(0);
        Ok(())
    }

    fn take(&mut self, count: u32) -> Result<u32, Stop> {
        self.fill();
        let value = (self.buffer >> 32) as u32;
        self.skip(count)?;
        Ok(value.checked_shr(32 - count).unwrap_or(0))
    }

    #[inline]
    fn symbol(&mut self, table: &Huffman) -> Result<u8, Stop> {
        if self.left < 16 {
            self.fill();
        }
        let (symbol, length) = table.lookup[(self.buffer >> (64 - LOOKUP)) as usize];
        if length > 0 {
            self.skip(length.into())?;
            return Ok(symbol);
        }
        let next = (self.buffer >> 48) as u32;
        let longer = (LOOKUP as usize + 1..=16).find(|length| next < table.end[*length]);
        let Some(length) = longer else {
            // Zeros that stand for nothing may be no code either.
            return Err(match self.left < 16 {
                true => Stop::Short,
                false => Stop::Damaged,
            });
        };
        self.skip(length as u32)?;
        let place = (next >> (16 - length)) as i32 + table.offset[length];
        Ok(table.symbols[(place & 255) as usize])
    }

    #[inline]
    fn run_and_size(&mut self, table: &Huffman) -> Result<(u32, u32), Stop> {
        let symbol = u32::from(self.symbol(table)?);
        Ok((symbol >> 4, symbol & 15))
    }

    /// Whether data are left over that are no mere padding: codes that were damaged have been read as
    /// fewer blocks than there were.
    fn surplus(&self) -> bool {
        const TOLERATED: usize = 16;
        let mut at = self.at;
        next_marker(self.data, &mut at);
        let left = self.data.get(self.at..at).unwrap_or_default();
        left.iter()
            .filter(|byte| !matches!(byte, 0x00 | 0xff))
            .count()
            > TOLERATED
    }

    /// What follows the restart marker that must come next.
    fn restart(self) -> Option<Self> {
        let mut at = self.at;
        let marker = next_marker(self.data, &mut at)?;
        marker::RESTART.contains(&marker).then(|| Self {
            at,
            ..Self::new(self.data)
        })
    }
}
