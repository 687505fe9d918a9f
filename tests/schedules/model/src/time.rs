//! `std::time`: a clock that goes on only when a wait ends for the time.

use crate::exec::{context, nanos, Op};
use ::std::ops::{Add, AddAssign, Sub, SubAssign};
use ::std::panic::Location;

pub use ::std::time::{Duration, SystemTime, SystemTimeError, UNIX_EPOCH};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Instant(Duration);

impl Instant {
    #[track_caller]
    pub fn now() -> Self {
        let place = Location::caller();
        let nanos = context().map_or(0, |(world, me)| {
            world.step(me, Op::Now, place);
            let clock = world.lock().clock;
            clock
        });
        // Far enough from zero for what somebody may subtract.
        Instant(Duration::from_secs(1 << 20) + Duration::from_nanos(nanos))
    }

    #[track_caller]
    pub fn elapsed(&self) -> Duration {
        Instant::now().duration_since(*self)
    }

    pub fn duration_since(&self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub fn checked_duration_since(&self, earlier: Instant) -> Option<Duration> {
        self.0.checked_sub(earlier.0)
    }

    pub fn checked_add(&self, duration: Duration) -> Option<Instant> {
        let sum = self.0.checked_add(duration)?;
        // As far as the clock itself reaches.
        (nanos(duration) < u64::MAX / 8).then(|| Instant(sum))
    }

    pub fn checked_sub(&self, duration: Duration) -> Option<Instant> {
        self.0.checked_sub(duration).map(Instant)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        self.checked_add(duration)
            .expect("overflow when adding duration to instant")
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, duration: Duration) -> Instant {
        self.checked_sub(duration)
            .expect("overflow when subtracting duration from instant")
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, other: Instant) -> Duration {
        self.duration_since(other)
    }
}
