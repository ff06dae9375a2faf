//! How long to go on with a registry that does not answer well: exponential back-off with jitter, and what the registry
//! itself asks for. Knows nothing of what is requested.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// The figures of patience.
#[derive(Clone, Debug)]
pub(in crate::engine::images) struct Patience {
    /// Attempts that bring nothing, in a row.
    pub(in crate::engine::images) attempts: u32,
    /// The first pause; each further one is twice as long.
    pub(in crate::engine::images) first: Duration,
    /// A registry that asks for a longer pause than this is not waited for.
    pub(in crate::engine::images) longest: Duration,
    /// A connection that brings nothing for so long is dead.
    pub(in crate::engine::images) stall: Duration,
    /// One that brings less than this many bytes within the time of waiting for them is as good as dead.
    pub(in crate::engine::images) crawl: (u64, Duration),
    /// What is uploaded in one request, so that a broken one costs no more than that.
    pub(in crate::engine::images) chunk: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 6,
            first: Duration::from_millis(250),
            longest: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            crawl: (32 << 10, Duration::from_secs(30)),
            chunk: 32 << 20,
        }
    }
}

/// Counts attempts that brought nothing.
#[derive(Debug)]
pub(super) struct Backoff<'a> {
    patience: &'a Patience,
    failed: u32,
}

impl<'a> Backoff<'a> {
    pub(super) fn new(patience: &'a Patience) -> Self {
        Self { patience, failed: 0 }
    }

    /// Something was gained: patience starts anew.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits before the next attempt; false when there should be none.
    pub(super) async fn wait(&mut self, asked: Option<Duration>) -> bool {
        self.failed += 1;
        if self.failed >= self.patience.attempts || asked.is_some_and(|asked| asked > self.patience.longest) {
            return false;
        }
        let pause = self.patience.first.saturating_mul(1 << (self.failed - 1).min(16));
        // Between half of it and all of it, so that many hosts do not come back at once.
        let pause = pause / 2 + pause.mul_f64(f64::from(jitter()) / 512.0);
        tokio::time::sleep(asked.unwrap_or_default().max(pause).min(self.patience.longest)).await;
        true
    }
}

/// Watches that a body comes at a pace worth waiting for. What counts is the time of waiting for it, not that of whoever
/// takes its parts.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    patience: &'a Patience,
    waited: Duration,
    got: u64,
}

impl<'a> Pace<'a> {
    pub(super) fn new(patience: &'a Patience) -> Self {
        Self { patience, waited: Duration::ZERO, got: 0 }
    }

    /// The next part of the body, `None` at its end. The error is `None` when it comes too slowly or not at all.
    pub(super) async fn next(&mut self, response: &mut Response) -> Result<Option<Bytes>, Option<reqwest::Error>> {
        let begun = Instant::now();
        let part = match tokio::time::timeout(self.patience.stall, response.chunk()).await {
            Ok(Ok(Some(part))) => part,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(error)) => return Err(Some(error)),
            Err(_) => return Err(None),
        };
        self.waited += begun.elapsed();
        self.got = self.got.saturating_add(part.len() as u64);
        let (least, window) = self.patience.crawl;
        if self.waited >= window {
            if self.got < least {
                return Err(None);
            }
            (self.waited, self.got) = (Duration::ZERO, 0);
        }
        Ok(Some(part))
    }

    /// Whether so much has come that patience may start anew.
    pub(super) fn is_worth_waiting(&self) -> bool {
        self.got >= self.patience.crawl.0
    }
}

/// The pause that a response asks for, in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = OffsetDateTime::parse(text, &Rfc2822).ok()? - OffsetDateTime::now_utc();
    Some(until.try_into().unwrap_or_default())
}

fn jitter() -> u8 {
    let mut byte = [0u8];
    match rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty()) {
        Ok(_) => byte[0],
        // Without randomness the pause is merely the same for all.
        Err(_) => u8::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_retry_after() {
        let of = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(of("Wed, 21 Oct 2115 07:28:00 GMT").unwrap() > Duration::from_secs(1_000_000));
        assert_eq!(of("soon"), None);
    }
}
