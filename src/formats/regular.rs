//! Only regular files: reading a device, a fifo or a socket in place of one may never end.

use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file, or a link to one, and tells its length in bytes.
///
/// # Errors
///
/// What the system says, and at once, without opening it, where `path` is anything else.
pub fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    // Before it is opened: opening a fifo waits for its other end.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        let text = format!("{}, expected a regular file", kind(metadata.file_type()));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok((File::open(path)?, metadata.len()))
}

/// Reads a whole regular file of at most `limit` bytes.
///
/// # Errors
///
/// As [`open_regular`]; [`io::ErrorKind::FileTooLarge`] for a longer file, of which nothing is read.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (file, length) = open_regular(path)?;
    let too_large = |length| {
        let text = format!("a file of {length} bytes, the limit is {limit}");
        io::Error::new(io::ErrorKind::FileTooLarge, text)
    };
    if length > limit {
        return Err(too_large(length));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // It may grow while it is read.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        length if length > limit => Err(too_large(length)),
        _ => Ok(bytes),
    }
}

fn kind(file_type: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file_type.is_fifo() {
            return "a named pipe";
        }
        if file_type.is_socket() {
            return "a socket";
        }
        if file_type.is_char_device() || file_type.is_block_device() {
            return "a device";
        }
    }
    match file_type.is_dir() {
        true => "a directory",
        false => "no file",
    }
}
