//! A disk with little room. Needs Linux and root.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// A file system of its own, in memory. Gone when dropped.
#[derive(Debug)]
pub(super) struct SmallDisk {
    mount: tempfile::TempDir,
}

impl SmallDisk {
    pub(super) fn new(megabytes: u32) -> Result<Self, String> {
        let mount = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]).arg(mount.path());
        let output = command.output().map_err(|error| format!("mount: {error}"))?;
        match output.status.success() {
            true => Ok(Self { mount }),
            false => Err(format!("no disk can be mounted: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.mount.path().join("data")
    }

    fn filler(&self) -> PathBuf {
        self.mount.path().join("filler")
    }

    /// Leaves no room.
    pub(super) fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file");
        let mut size = 1 << 20;
        while size > 0 {
            if filler.write_all(&vec![0; size]).is_err() {
                size /= 2;
            }
        }
    }

    pub(super) fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.mount.path()).output());
    }
}
