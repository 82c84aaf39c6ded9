//! Small files that are read by others while they are written.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a small file so that a reader sees all of it or the one before.
///
/// # Errors
/// As the file system says.
pub fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    // Who calls from where is nobody else's business.
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    drop(file);
    std::fs::rename(temporary, path)
}
