//! Why an instance is to have its size.

use std::fmt;

use super::NeedBasis;
use crate::size::Size;

/// One reason of a size.
#[derive(Debug, Clone, PartialEq)]
pub enum SizeReason {
    /// Use asks for this much.
    Needs {
        /// What is asked for, within the bounds.
        size: Size,
        /// Quantile of processor time.
        cpu_quantile: f64,
        /// Quantile of memory.
        memory_quantile: f64,
        /// Where the quantiles come from.
        basis: NeedBasis,
    },
    /// Instances were throttled, or used more than the limit: processor time is raised at once.
    Throttled {
        /// Share of periods in which they were.
        share: f64,
        /// The new limit, in cores.
        cpu_cores: f64,
    },
    /// Memory in use came near its limit: it is raised before the kernel kills.
    MemoryShort {
        /// What an instance uses, or is going to use in a moment, in bytes.
        ahead: u64,
        /// The limit before, in bytes.
        limit: u64,
        /// The new limit, in bytes.
        memory_bytes: u64,
    },
    /// An instance ran out of memory; not less than this from now on.
    OutOfMemory {
        /// Bytes.
        memory_bytes: u64,
    },
    /// Memory is not taken away below what was used lately.
    MemoryPeak {
        /// Bytes.
        memory_bytes: u64,
    },
    /// Size and number were decided together: the size that costs least at the peak of the day.
    Together {
        /// Processor time of the size, in cores.
        cpu_cores: f64,
        /// Largest demand expected within a day.
        peak: f64,
        /// Instances of that size for the peak.
        instances: u32,
        /// What the size before would cost for the peak, in costs of this one.
        before: f64,
    },
    /// The controller of throttling set the limit.
    Squeezed {
        /// The limit, in cores.
        cpu_cores: f64,
        /// Share of throttled periods aimed at.
        target: f64,
        /// Share of throttled periods seen.
        throttled: f64,
    },
    /// The controller of throttling is off; the rules decide.
    BanditOff(BanditOff),
    /// The nodes have no room for all of it.
    NoRoom {
        /// What it would be.
        wanted: Size,
        /// What it is.
        size: Size,
    },
    /// The provider does not change the size of running instances; only new ones get the planned size.
    NotLive,
}

/// Why the controller of throttling is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BanditOff {
    /// Use is not forecast well enough to know how low the limit may go.
    Untrusted,
    /// Nobody tells how often instances are throttled.
    NoThrottling,
    /// Nobody tells the latency.
    NoLatency,
    /// The latency bound was broken a moment ago.
    LatencyBroken,
}

impl fmt::Display for BanditOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BanditOff::Untrusted => "the forecast of use is not trusted yet",
            BanditOff::NoThrottling => "throttling is not measured here",
            BanditOff::NoLatency => "no latency has been seen lately",
            BanditOff::LatencyBroken => "the latency bound was broken",
        })
    }
}

impl fmt::Display for SizeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SizeReason::Needs { size, cpu_quantile, memory_quantile, basis } => write!(
                f,
                "Size: use asks for {:.2} cores ({:.0} % quantile) and {} ({:.0} %), from {}.",
                size.cpu_cores,
                cpu_quantile * 100.0,
                Bytes(size.memory_bytes),
                memory_quantile * 100.0,
                match basis {
                    NeedBasis::Forecast => "its forecast",
                    NeedBasis::Histogram => "what was used lately, as no forecast is trusted yet",
                }
            ),
            SizeReason::Throttled { share, cpu_cores } => write!(
                f,
                "Size: processor time is short in {:.0} % of the time; raised to {cpu_cores:.2} cores at once.",
                share * 100.0
            ),
            SizeReason::MemoryShort { ahead, limit, memory_bytes } => write!(
                f,
                "Size: an instance uses, or is about to use, {} of its {}; raised to {} at once.",
                Bytes(*ahead),
                Bytes(*limit),
                Bytes(*memory_bytes)
            ),
            SizeReason::OutOfMemory { memory_bytes } => {
                write!(f, "Size: an instance ran out of memory; not below {} again.", Bytes(*memory_bytes))
            }
            SizeReason::MemoryPeak { memory_bytes } => {
                write!(f, "Size: memory stays above the recent peak, at {}.", Bytes(*memory_bytes))
            }
            SizeReason::Together { cpu_cores, peak, instances, before } => write!(
                f,
                "Size: {cpu_cores:.2} cores are cheapest for the peak of {peak:.0} expected within a day, with \
                 {instances} instances; the size before would cost {before:.2} times as much."
            ),
            SizeReason::Squeezed { cpu_cores, target, throttled } => write!(
                f,
                "Size: {cpu_cores:.2} cores let {:.0} % of the periods be throttled; {:.0} % keep the latency bound at \
                 the lowest cost.",
                throttled * 100.0,
                target * 100.0
            ),
            SizeReason::BanditOff(why) => write!(f, "Size: the rules decide, because {why}."),
            SizeReason::NoRoom { wanted, size } => write!(
                f,
                "Size: {:.2} cores and {} are asked for; the nodes have room for {:.2} cores and {}.",
                wanted.cpu_cores,
                Bytes(wanted.memory_bytes),
                size.cpu_cores,
                Bytes(size.memory_bytes)
            ),
            SizeReason::NotLive => {
                f.write_str("Size: running instances cannot be resized here; new ones get the planned size.")
            }
        }
    }
}

/// Bytes for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} MiB", self.0 as f64 / f64::from(1 << 20))
    }
}
