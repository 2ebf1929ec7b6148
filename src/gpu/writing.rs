//! Uploads of parts from many places into one buffer.

use rayon::prelude::*;

use super::Gpu;

/// What a thread copies at a time.
const BLOCK: usize = 64 << 10;

impl Gpu {
    /// Writes parts of one length to a buffer, one behind the other, before whatever is submitted
    /// next: all cores copy them straight to where the device takes them from.
    pub fn write_parts(&self, buffer: &wgpu::Buffer, parts: &[&[u8]]) {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let what = || "a write to the GPU".to_owned();
        self.during(what, bytes, || {
            let size = wgpu::BufferSize::new(bytes);
            let view = size.and_then(|size| self.queue().write_buffer_with(buffer, 0, size));
            // Without one there is an error to be kept, or nothing to be written.
            let Some(mut view) = view else { return };
            let (blocks, rest) = view.slice(..).into_chunks::<BLOCK>();
            let blocks: Vec<_> = blocks.into_iter().collect();
            copy(parts, blocks.len() * BLOCK, rest);
            blocks
                .into_par_iter()
                .enumerate()
                .for_each(|(number, block)| copy(parts, number * BLOCK, block.into()));
        });
    }
}

/// Copies what begins `at` bytes into the row of parts, as much as there is room for.
fn copy(parts: &[&[u8]], mut at: usize, mut room: wgpu::WriteOnly<[u8]>) {
    while !room.is_empty() {
        let part = parts[at / parts[0].len()];
        let part = &part[at % part.len()..];
        let part = &part[..part.len().min(room.len())];
        at += part.len();
        let (mut place, rest) = room.split_at(part.len());
        place.copy_from_slice(part);
        room = rest;
    }
}
