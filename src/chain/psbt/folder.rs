//! [`PsbtFolder`]: PSBTs as files, for a device that is reached by a memory card, or a person.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::signer::{DeviceError, PsbtDevice, PsbtRequest};
use super::{Psbt, limits};

/// Pause between two looks for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Folder in which PSBTs wait to be signed by something else.
///
/// A request is the file `SESSION.NUMBER.psbt`: the session's id in hexadecimal, and the number of the PSBT in the
/// session (odd: add nonces, even: add partial signatures). It is there as a whole or not at all. The answer is expected
/// in `SESSION.NUMBER.answer.psbt`, as bytes or base64; a file that is no PSBT yet is looked at again. So an answer of
/// another session, or to an earlier PSBT of this one, is never read as a new one.
///
/// The files stay when they were read: remove those of sessions that ended.
#[derive(Clone, Debug)]
pub struct PsbtFolder {
    folder: PathBuf,
}

impl PsbtFolder {
    /// Uses a folder, and creates it if it does not exist.
    ///
    /// Errors: it cannot be created.
    pub fn new(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The file of a request.
    pub fn request_path(&self, request: &PsbtRequest) -> PathBuf {
        self.folder.join(format!("{}.{}.psbt", request.session, request.number))
    }

    /// The file in which its answer is expected.
    pub fn answer_path(&self, request: &PsbtRequest) -> PathBuf {
        self.folder.join(format!("{}.{}.answer.psbt", request.session, request.number))
    }

    fn exchange(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError> {
        if !request.again {
            self.write(&self.request_path(request), &request.psbt.to_bytes()).map_err(|error| {
                let folder = self.folder.display();
                DeviceError::Unreachable(format!("the PSBT cannot be written into {folder}: {error}"))
            })?;
        }
        let answer = self.answer_path(request);
        loop {
            if let Some(psbt) = read(&answer) {
                return Ok(psbt);
            }
            if request.is_cancelled() {
                return Err(DeviceError::Cancelled);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Writes a file that is there as a whole or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = self.folder.join(name);
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let named = written.and_then(|()| fs::rename(&temporary, path));
        if named.is_err() {
            drop(fs::remove_file(&temporary));
        }
        named?;
        // The name too. Not every system can sync a folder.
        if let Ok(folder) = File::open(&self.folder) {
            drop(folder.sync_all());
        }
        Ok(())
    }
}

/// `None` for a file that is not there, or that is no PSBT (yet).
fn read(path: &Path) -> Option<Psbt> {
    // In base64 it is longer by a third.
    let most = 2 * limits::BYTES as u64;
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    match bytes.starts_with(b"psbt\xff") {
        true => Psbt::from_bytes(&bytes).ok(),
        false => Psbt::from_base64(std::str::from_utf8(&bytes).ok()?).ok(),
    }
}

impl PsbtDevice for PsbtFolder {
    fn add_nonces(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError> {
        self.exchange(request)
    }

    fn add_partials(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError> {
        self.exchange(request)
    }

    fn keeps_requests(&self) -> bool {
        true
    }
}
