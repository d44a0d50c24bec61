//! Time as the records use it: leases by a clock that no one sets, dates by the wall's.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use fs_err as fs;

use crate::error::StoreError;

/// A moment on the clock that runs from the machine's start on, asleep or awake.
///
/// Moments of different boots can't be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Which run of the machine.
    pub boot: String,
    /// Milliseconds since its start.
    pub ms: i64,
}

impl Moment {
    /// The moment some time after this one, in milliseconds of the same boot.
    pub(crate) fn ms_after(&self, duration: Duration) -> i64 {
        self.ms.saturating_add(millis(duration))
    }
}

/// Where the records' times come from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now, for leases and delays: never set back or forward.
    fn moment(&self) -> Moment;

    /// Now as a date, milliseconds since the Unix epoch: for what lasts days or is shown.
    fn wall_ms(&self) -> i64;
}

/// The machine's clocks: `CLOCK_BOOTTIME` with the kernel's boot id, and the wall's.
#[derive(Debug)]
pub struct SystemClock {
    boot: String,
}

/// Where Linux tells one run of the machine from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl SystemClock {
    /// Reads the boot's id.
    pub fn new() -> Result<Self, StoreError> {
        let boot = fs::read_to_string(BOOT_ID).map_err(StoreError::file(BOOT_ID))?;
        Ok(Self {
            boot: boot.trim().to_owned(),
        })
    }
}

impl Clock for SystemClock {
    fn moment(&self) -> Moment {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Moment {
            boot: self.boot.clone(),
            ms: now.tv_sec.saturating_mul(1000) + now.tv_nsec / 1_000_000,
        }
    }

    fn wall_ms(&self) -> i64 {
        let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        i64::try_from(now).unwrap_or(i64::MAX)
    }
}

/// A clock that stands until it is moved: time for tests.
#[derive(Debug)]
pub struct ManualClock(Mutex<(Moment, i64)>);

impl Default for ManualClock {
    fn default() -> Self {
        let moment = Moment {
            boot: "boot 1".to_owned(),
            ms: 1_000_000,
        };
        Self(Mutex::new((moment, 1_700_000_000_000)))
    }
}

impl ManualClock {
    /// Lets time pass, on both clocks.
    pub fn pass(&self, duration: Duration) {
        self.change(|moment, wall| {
            moment.ms = moment.ms_after(duration);
            *wall = wall.saturating_add(millis(duration));
        });
    }

    /// Starts the machine anew: another boot id, and its clock is near zero.
    pub fn reboot(&self) {
        self.change(|moment, _| {
            moment.boot.push('+');
            moment.ms = 10;
        });
    }

    /// Sets the wall's clock, as an operator or a time server does.
    pub fn set_wall_ms(&self, ms: i64) {
        self.change(|_, wall| *wall = ms);
    }

    fn change(&self, change: impl FnOnce(&mut Moment, &mut i64)) {
        let mut now = self.0.lock().expect("no change panics");
        let (moment, wall) = &mut *now;
        change(moment, wall);
    }
}

impl Clock for ManualClock {
    fn moment(&self) -> Moment {
        self.0.lock().expect("no change panics").0.clone()
    }

    fn wall_ms(&self) -> i64 {
        self.0.lock().expect("no change panics").1
    }
}

/// Whole milliseconds, as rows keep them.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_clock_runs_and_knows_its_boot() {
        let clock = SystemClock::new().unwrap();
        let (one, two) = (clock.moment(), clock.moment());
        assert_eq!(one.boot, two.boot);
        assert_eq!(one.boot.len(), 36, "a UUID");
        assert!(one.ms > 0 && two.ms >= one.ms);
        assert!(clock.wall_ms() > 1_700_000_000_000);
    }
}
