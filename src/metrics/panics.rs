//! The count of panics, for the hook that a process sets once.

use prometheus::IntCounter;

use super::{Metrics, catalogue, opts};

impl Metrics {
    /// Registers the counter.
    ///
    /// # Errors
    /// It was registered before.
    pub fn panics(&self) -> Result<IntCounter, prometheus::Error> {
        let count = IntCounter::with_opts(opts(&catalogue::PANICS))?;
        self.registry.register(Box::new(count.clone()))?;
        Ok(count)
    }
}
