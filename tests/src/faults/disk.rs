//! The disk of the data folder is full: below the reserve, and to the last byte.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::Rng as _;

use super::Options;
use super::bed::Bed;
use super::report::Report;
use crate::Signal;

/// The size of the disk, and what kiln keeps free of it, in MiB.
const SIZE: usize = 64;
const RESERVE: usize = 24;

/// The disk fills while kiln works, and is emptied without a word to kiln.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut random = options.random();
    let mut bed = Bed::new(options, "disk", |kiln| {
        kiln.env("KILN_LIMITS_LEASE", "2")
            .env("KILN_LIMITS_DISK_RESERVE_MIB", &RESERVE.to_string())
    })
    .await?;
    let disk = SmallDisk::mount(&bed.kiln.path().join("small"), &format!("{SIZE}m"))?;
    bed.data = disk.path.join("data");
    let mut report = Report::new(format!(
        "disk: {SIZE} MiB, {RESERVE} of them reserved, {} builds, full {} times, seed {}",
        options.builds, options.kills, options.seed
    ));
    bed.start(None)?;
    bed.insist(0).await?;
    bed.settle().await?;

    disk.fill(Some((SIZE - RESERVE) << 20))?;
    let refused = bed.ask(1).await?.is_none();
    report.check(
        "a new build below the reserve",
        verdict(refused),
        "refused",
        refused,
    );
    let only = bed.oracle.refused.keys().all(|key| key == "503 disk");
    report.check("by", told(&bed), "503 disk", only && refused);
    let hit = bed.ask(0).await?.is_some();
    report.check("a hit below the reserve", answered(hit), "answered", hit);
    disk.empty()?;
    let accepted = bed.ask(1).await?.is_some();
    report.check("with space again", answered(accepted), "answered", accepted);
    bed.settle().await?;
    bed.stop()?;

    // From here on nothing is reserved: the disk is full at any moment of a build.
    bed.set("KILN_LIMITS_DISK_RESERVE_MIB", "0");
    bed.start(None)?;
    let mut full = 0;
    for time in 0..options.kills {
        let first = 2 + (options.builds - 2) * time / options.kills;
        let last = 2 + (options.builds - 2) * (time + 1) / options.kills;
        for number in first..last {
            bed.insist(number).await?;
        }
        tokio::time::sleep(Duration::from_millis(700).mul_f64(random.random())).await;
        disk.fill(None)?;
        // What is accepted now counts as any other build.
        full += usize::from(bed.ask(options.builds + time).await?.is_none());
        tokio::time::sleep(Duration::from_secs(2).mul_f64(random.random())).await;
        let kill = time + 1 == options.kills;
        if kill {
            bed.server().signals().send(Signal::KILL)?;
            bed.ended("on a full disk")?;
        }
        disk.empty()?;
        if kill {
            bed.start(None)?;
        }
        bed.settle().await?;
        bed.insist(options.builds + time).await?;
    }
    report.tell("times that nothing could be written", options.kills);
    report.tell("  refused then", full);
    let others: Vec<String> = bed
        .oracle
        .refused
        .keys()
        .filter(|key| !key.starts_with("503 "))
        .cloned()
        .collect();
    report.none("refused by anything but 503", &others);
    bed.conclude(&mut report).await?;
    Ok(report)
}

fn verdict(refused: bool) -> &'static str {
    if refused { "refused" } else { "accepted" }
}

fn answered(holds: bool) -> &'static str {
    if holds { "answered" } else { "refused" }
}

fn told(bed: &Bed) -> String {
    let told: Vec<&str> = bed.oracle.refused.keys().map(String::as_str).collect();
    told.join(", ")
}

/// A small file system in memory; it ends with its owner.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path, size: &str) -> Result<Self> {
        fs_err::create_dir_all(path)?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .status()?;
        ensure!(status.success(), "a small file system needs root");
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Writes this many bytes, or until nothing more can be written.
    fn fill(&self, bytes: Option<usize>) -> Result<()> {
        let mut file = fs_err::File::create(self.path.join("filler"))?;
        let mut left = bytes.unwrap_or(usize::MAX);
        // Smaller and smaller pieces, down to a page.
        let mut piece = vec![1; 1 << 20];
        while left > 0 {
            let length = piece.len().min(left);
            match file.write(&piece[..length]) {
                Ok(written) => left -= written,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    if piece.len() <= 4096 {
                        return Ok(());
                    }
                    piece.truncate(piece.len() / 2);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        Ok(fs_err::remove_file(self.path.join("filler"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nothing is left to be done where this fails.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
