//! Exponential back-off.

use std::time::Duration;

/// The pause after a number of failures: `min`, doubled with each, `max` at most, and of that a random half or more.
pub(super) fn backoff(min: Duration, max: Duration, failures: u32) -> Duration {
    let pause = min.saturating_mul(1 << failures.min(20)).min(max);
    // Between half of it and all, so that many nodes do not retry in step.
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + 0.5 * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_maximum_and_is_never_below_half() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(10));
        for (failures, nominal) in [(0, 100), (1, 200), (3, 800), (6, 6400), (7, 10_000), (u32::MAX, 10_000)]
        {
            let nominal = Duration::from_millis(nominal);
            let pause = backoff(min, max, failures);
            assert!(pause >= nominal / 2 && pause <= nominal, "{failures}: {pause:?}");
        }
    }
}
