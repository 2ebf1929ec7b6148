//! What a kernel spends its time with: the instructions of the loop that does its work, by what executes them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

/// Instructions by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mix {
    /// Vector instructions that multiply and add, in f32 or f16.
    pub multiply_adds: usize,
    /// Those that multiply matrices of 16x16.
    pub matrices: usize,
    /// All other vector arithmetic, address computations included.
    pub vector: usize,
    /// Accesses to workgroup memory.
    pub workgroup: usize,
    /// Accesses to buffers.
    pub memory: usize,
    /// Everything else: scalar instructions, waits, barriers.
    pub scalar: usize,
}

impl Mix {
    /// The share of the vector units' time that goes into the product: no kernel reaches more of the chip's peak. An
    /// instruction takes a clock for each 32 invocations of the subgroup; RDNA3 multiplies matrices of 16x16 in 32 (512
    /// FLOP a clock on the two units of a CU: GPUOpen, "How to accelerate AI applications on RDNA 3 using WMMA").
    pub fn arithmetic(&self, subgroup: u32) -> f64 {
        let clocks = |instructions: usize| instructions as f64 * f64::from(subgroup) / 32.0;
        let product = clocks(self.multiply_adds) + 32.0 * self.matrices as f64;
        product / (product + clocks(self.vector)).max(1.0)
    }

    fn count(&mut self, mnemonic: &str) {
        let starts = |all: &[&str]| all.iter().any(|prefix| mnemonic.starts_with(prefix));
        let kind = if starts(&["v_wmma"]) {
            &mut self.matrices
        } else if starts(&["v_fma", "v_pk_fma", "v_dual_fma", "v_dot"]) {
            &mut self.multiply_adds
        } else if starts(&["v_"]) {
            &mut self.vector
        } else if starts(&["ds_"]) {
            &mut self.workgroup
        } else if starts(&["buffer_", "global_", "image_", "flat_", "scratch_"]) {
            &mut self.memory
        } else {
            &mut self.scalar
        };
        *kind += 1;
    }
}

/// The loop that does the work: the shortest of those that multiply most, without what loops inside it do
/// now and then; the whole kernel where there is no loop. `assembly` is text as the driver gives it: labels `BB1:`, an
/// instruction a line, what follows `;` its bytes.
pub fn working_loop(assembly: &str) -> Mix {
    let lines: Vec<&str> = assembly.lines().map(str::trim).collect();
    let labels: BTreeMap<&str, usize> = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| Some((label(line)?, at)))
        .collect();
    // A branch back to where a loop begins.
    let back = |(at, line): (usize, &&str)| -> Option<Range<usize>> {
        let mut words = line.split_whitespace();
        let branches = words.next()?.contains("branch");
        let target = *labels.get(words.next()?)?;
        (branches && target < at).then_some(target..at)
    };
    let loops: Vec<_> = lines.iter().enumerate().filter_map(back).collect();
    let within = |inner: &Range<usize>, outer: &Range<usize>| {
        inner != outer && outer.start <= inner.start && inner.end <= outer.end
    };
    let mixes = loops.iter().map(|range| {
        let inside = loops.iter().filter(|other| within(other, range));
        let inside: Vec<_> = inside.collect();
        let own = |at: &usize| !inside.iter().any(|other| other.contains(at));
        let own: Vec<_> = range.clone().filter(own).map(|at| lines[at]).collect();
        mix(&own)
    });
    mixes
        .filter(|mix| mix.multiply_adds + mix.matrices > 0)
        .max_by_key(|mix| (mix.matrices, mix.multiply_adds, Reverse(mix.vector)))
        .unwrap_or_else(|| mix(&lines))
}

fn label(line: &str) -> Option<&str> {
    line.strip_suffix(':').filter(|name| name.starts_with("BB"))
}

fn mix(lines: &[&str]) -> Mix {
    let mut mix = Mix::default();
    for line in lines.iter().filter(|line| !line.ends_with(':')) {
        let instruction = line.split(';').next().unwrap_or_default();
        // Two that are issued as one count as two.
        for instruction in instruction.split("::") {
            if let Some(mnemonic) = instruction.split_whitespace().next() {
                mix.count(mnemonic);
            }
        }
    }
    mix
}

#[test]
fn the_working_loop_is_counted() {
    let text = "BB0:\n\ts_mov_b32 s0, 0 ; be800380\n\tv_fma_f32 v0, v1, v2, v0 ; 00\nBB1:\n\
                \tbuffer_load_dword v1, off ; 00\nBB2:\n\tds_read_b128 v[0:3], v4 ; 00\n\
                \tv_dual_fmac_f32 v0, v1, v2 :: v_dual_mov_b32 v3, v4 ; 00\n\
                BB3:\n\tv_add_u32 v0, v1, v0\n\ts_cbranch_scc1 BB3\n\
                \ts_cbranch_scc1 BB2 ; 00\n\ts_cbranch_scc0 BB1\n\ts_branch BB9\nBB9:\n\ts_endpgm\n";
    let expected = Mix {
        multiply_adds: 1,
        vector: 1,
        workgroup: 1,
        scalar: 1,
        ..Mix::default()
    };
    assert_eq!(working_loop(text), expected);
    let straight = working_loop("v_fma_f32 v0, v1, v2, v0\ns_endpgm\n");
    assert_eq!((straight.multiply_adds, straight.scalar), (1, 1));
    assert_eq!(straight.arithmetic(64), 1.0);
    // Two clocks of 2 + 32 + 4.
    let both =
        working_loop("v_fma_f32 v0\nv_wmma_f32_16x16x16_f16 v0\nv_mov_b32 v0\nv_add_u32 v0\n");
    assert_eq!(both.arithmetic(64), 34.0 / 38.0);
}
