//! Versions of Mesa, as its drivers tell them.

use memchr::memmem;

/// Major and minor version, as in 22.3.
pub type MesaVersion = (u32, u32);

/// The version of the driver of an adapter; `None` where it is not Mesa's.
pub fn mesa_version(info: &wgpu::AdapterInfo) -> Option<MesaVersion> {
    version_in(info.driver_info.as_bytes())
}

/// What a driver tells of itself, as in `Mesa 22.3.6 (LLVM 15.0.6)`.
pub(super) fn version_in(text: &[u8]) -> Option<MesaVersion> {
    const BEFORE: &[u8] = b"Mesa ";
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    memmem::find_iter(text, BEFORE).find_map(|at| {
        let mut parts = text[at + BEFORE.len()..].splitn(3, |byte| *byte == b'.');
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
}
